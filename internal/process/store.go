package process

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"authsvc/internal/config"
	"authsvc/internal/doctor"
	"authsvc/internal/redisconn"
	"authsvc/internal/store"
	"authsvc/internal/token"
)

// OpenStore opens the store of the settings, without connecting to it.
func OpenStore(cfg config.Config) (store.Opened, error) { return openStore(cfg, store.Options{}) }

func openStore(cfg config.Config, opts store.Options) (store.Opened, error) {
	opts.ClientName, opts.Timeout = clientName(), cfg.StoreTimeout
	return store.Open(cfg.Store, opts)
}

// monitored is a store that notes when it could not be asked, or this process stood still.
type monitored interface {
	Monitor(context.Context, *token.Clock)
	Outages(token.GrantID) token.Outages
}

// clientName returns the name that identifies this replica in Redis's CLIENT LIST.
// Redis accepts no spaces in it.
func clientName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return "authsvc:" + strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, host)
}

// useStore starts measuring the store's clock, without which no request is served. A
// Redis is checked first, and then each minute. It returns an error for a Redis that
// would get tokens wrong, or sends that to failed if it becomes available only later.
func (p *Process) useStore(ctx context.Context, tasks *sync.WaitGroup, failed chan<- error) error {
	if s, ok := p.store.(monitored); ok {
		tasks.Go(func() { s.Monitor(ctx, p.clock) })
	}
	run := func() { p.clock.Run(ctx, p.measured, p.cfg.StoreTimeout, p.storeChanged) }
	monitor := newRedisMonitor(p)
	if monitor == nil {
		tasks.Go(run)
		return nil
	}
	err := monitor.withTimeout(ctx, firstTimeout, monitor.first)
	var refused refusedRedis
	if errors.As(err, &refused) {
		return refused
	}
	tasks.Go(func() {
		if err != nil {
			if err := monitor.untilFirst(ctx); err != nil {
				failed <- err
				return
			}
		}
		tasks.Go(func() { monitor.run(ctx) })
		run()
	})
	return nil
}

// breakerChanged logs and counts that a breaker has opened or closed.
func (p *Process) breakerChanged(node string, err error, since time.Time) {
	unavailable := err != nil && !errors.Is(err, redisconn.ErrReplaced)
	p.metrics.Breaker(unavailable)
	took := slog.Float64("open_seconds", time.Since(since).Seconds())
	switch {
	case unavailable:
		p.log.Error("Redis breaker opened: calls that need this Redis are answered with APIG.0613 until it closes", "redis", node, "cause", err.Error(), "fix", doctor.Unavailable(node, err).Fix)
	case err != nil:
		p.log.Info("a Redis whose breaker was open was replaced by another", "redis", node, took)
	default:
		p.log.Info("Redis breaker closed", "redis", node, took)
	}
}

// outage logs that a shard of Redis can be asked again.
func (p *Process) outage(shard string, took time.Duration) {
	p.log.Info("Redis answers reads again: retries of a refresh are answered for as much longer as it did not", "slots", shard, "away_seconds", took.Seconds())
}

// shared logs that what this process saw of outages can't be shared, or can be again.
func (p *Process) shared(err error) {
	if err != nil {
		p.log.Warn("the outages of Redis that this process saw can't be written there, so other processes do not know of them", "cause", err.Error(),
			"fix", "Look for what Redis refuses: authsvc doctor. It is tried again each second.")
		return
	}
	p.log.Info("the outages of Redis that this process saw are written there")
}

// storeChanged logs that the store has become unavailable, or available again.
func (p *Process) storeChanged(err error) {
	if err != nil {
		p.notify(statusUnavailable)
		p.log.Error("the token store is unavailable: requests that need it are answered with APIG.0613",
			"cause", err.Error(), "fix", doctor.Unavailable(p.cfg.Store.String(), err).Fix)
		return
	}
	p.notify(statusReady)
	offset, _ := p.clock.Offset()
	p.log.Info("the token store answers", "clock_offset", offset.Seconds())
}

// RedisOptions returns how Redis is used, according to the settings.
func RedisOptions(cfg config.Config) doctor.RedisOptions {
	return doctor.RedisOptions{AllowEviction: cfg.AllowEviction, TLS: cfg.Store.TLS, Cluster: cfg.Store.Topology == redisconn.Cluster, Timeout: cfg.StoreTimeout}
}
