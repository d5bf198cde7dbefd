package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// linger goes on accepting for half of the drain time, for the balancers that
// have not seen yet that the process is not ready. Answers ask for their
// connection to be closed. On a terminal nobody waits for that.
func (p *Process) linger() {
	p.draining.Store(true)
	p.log.Info("stopping", "drain", p.cfg.Drain.String())
	if p.cfg.Dev {
		return
	}
	enough, cancel := p.halfOfDrain()
	defer cancel()
	<-enough.Done()
}

// halfOfDrain ends with half of the drain time, or with one more signal.
func (p *Process) halfOfDrain() (context.Context, context.CancelFunc) {
	again, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	ctx, cancel := context.WithTimeout(again, p.cfg.Drain/2)
	return ctx, func() { cancel(); stop() }
}

// shutdown ends the servers, each request within the other half of the drain time,
// and sends the last spans in what is left of it.
func (p *Process) shutdown(servers []*http.Server) error {
	ctx, cancel := p.halfOfDrain()
	defer cancel()
	var errs []error
	for _, srv := range servers {
		if err := srv.Shutdown(ctx); err != nil {
			if n := p.inFlight.Load(); n > 0 { // else only connections on which nothing was asked
				errs = append(errs, fmt.Errorf("%d requests were cut off after the drain time", n))
			}
			errs = append(errs, srv.Close())
		}
	}
	if p.traces != nil {
		p.traces.Close(ctx)
	}
	return errors.Join(errs...)
}
