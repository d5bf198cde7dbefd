package process

import (
	"context"
	"errors"
	"time"

	"authsvc/internal/doctor"
)

// How often Redis is checked. How long that may take depends on the timeout of requests.
const (
	checkEvery = time.Minute
	// firstTimeout bounds how long an unavailable Redis delays listening, and
	// retryFirst is how soon it is tried again.
	firstTimeout = time.Second
	retryFirst   = 250 * time.Millisecond
	logEvery     = 10 * time.Second
)

// redisMonitor checks Redis: before it is used, and each minute after that.
type redisMonitor struct {
	*Process
	redis doctor.RedisStore
	opts  doctor.RedisOptions
	found []doctor.Finding // by the last check
}

// newRedisMonitor returns a monitor of the store, or nil if it is not Redis.
func newRedisMonitor(p *Process) *redisMonitor {
	r, ok := p.store.(doctor.RedisStore)
	if !ok {
		return nil
	}
	return &redisMonitor{Process: p, redis: r, opts: RedisOptions(p.cfg)}
}

// first checks Redis before it is used. It returns a refusedRedis if Redis would get
// tokens wrong, and another error while it is unavailable.
func (m *redisMonitor) first(ctx context.Context) error {
	err := m.check(ctx)
	var fatal refusedRedis
	for _, f := range m.found {
		if f.Severity == doctor.Error && f.Check != doctor.RedisUnavailable { // the other primaries of a Cluster still serve
			fatal = append(fatal, f)
		}
	}
	if len(fatal) > 0 {
		return fatal
	}
	return err
}

// untilFirst calls first until Redis is available. It logs why it is not, at most every
// ten seconds and only if that has changed.
func (m *redisMonitor) untilFirst(ctx context.Context) error {
	var logged string
	var at time.Time
	for {
		err := m.withTimeout(ctx, doctor.CheckTimeout(m.cfg.StoreTimeout), m.first)
		var refused refusedRedis
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return err
		}
		if logged != err.Error() && time.Since(at) > logEvery {
			m.storeChanged(err)
			logged, at = err.Error(), time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryFirst):
		}
	}
}

// run checks Redis each minute until ctx ends.
func (m *redisMonitor) run(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = m.withTimeout(ctx, doctor.CheckTimeout(m.cfg.StoreTimeout), m.check) // that it is unavailable is logged elsewhere
		}
	}
}

func (m *redisMonitor) withTimeout(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// check checks Redis, and logs what has changed since the last time. It returns an error
// while Redis serves no calls, which is logged elsewhere.
func (m *redisMonitor) check(ctx context.Context) error {
	found, err := doctor.CheckRedis(ctx, m.redis, m.opts)
	if err != nil {
		if _, err := m.redis.Now(ctx); err != nil {
			return err
		}
		found = append(found, doctor.Unavailable(m.cfg.Store.String(), err))
	}
	appeared, gone := doctor.Changes(m.found, found)
	if err != nil { // keep the findings about those that did not answer
		found, gone = append(found, gone...), nil
	}
	for _, f := range appeared {
		f.Log(m.log)
	}
	for _, f := range gone {
		if f.Check != doctor.RedisExpiry { // a sample without such keys proves nothing about the rest
			m.log.Info("Redis: fixed", "check", f.Check, "subject", f.Subject)
		}
	}
	m.found = found
	worst := map[string]int{}
	for _, f := range found {
		worst[f.Check] = max(worst[f.Check], int(f.Severity)+1)
	}
	for _, name := range doctor.RedisChecks() {
		m.metrics.RedisCheck(name, worst[name])
	}
	return nil
}

// refusedRedis is why a process does not start: findings about Redis, which would make
// tokens wrong, or lose them silently.
type refusedRedis []doctor.Finding

func (r refusedRedis) Error() string {
	text := "Redis can't be used as it is:"
	for _, f := range r {
		text += "\n\n" + f.String()
	}
	return text
}
