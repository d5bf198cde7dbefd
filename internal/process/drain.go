package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

// linger keeps accepting connections for half of the drain time, for load balancers
// that have not yet noticed that the process is not ready. Answers close their
// connection. With --dev there is no load balancer, so there is no wait.
func (p *Process) linger() {
	close(p.draining)
	p.log.Info("stopping", "drain", p.cfg.Drain.String())
	if p.cfg.Dev {
		return
	}
	over, cancel := p.halfOfDrain()
	defer cancel()
	<-over.Done()
}

// isDraining reports whether the process is stopping.
func (p *Process) isDraining() bool {
	select {
	case <-p.draining:
		return true
	default:
		return false
	}
}

// halfOfDrain returns a context that ends after half of the drain time, or with
// another signal.
func (p *Process) halfOfDrain() (context.Context, context.CancelFunc) {
	again, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	ctx, cancel := context.WithTimeout(again, p.cfg.Drain/2)
	return ctx, func() { cancel(); stop() }
}

// shutdown stops the servers; requests in flight have the other half of the drain time
// to finish, and what is left of that is for sending the last spans.
func (p *Process) shutdown(servers []*http.Server) error {
	ctx, cancel := p.halfOfDrain()
	defer cancel()
	var stopping sync.WaitGroup
	var late atomic.Bool
	for _, srv := range servers {
		stopping.Go(func() {
			if srv.Shutdown(ctx) != nil {
				late.Store(true)
			}
		})
	}
	stopping.Wait()
	var errs []error
	if late.Load() {
		if n := p.inFlight.Load(); n > 0 { // else only idle connections are left
			errs = append(errs, fmt.Errorf("%d requests were cut off after the drain time", n))
		}
		for _, srv := range servers {
			errs = append(errs, srv.Close())
		}
	}
	if p.traces != nil {
		p.traces.Close(ctx)
	}
	return errors.Join(errs...)
}
