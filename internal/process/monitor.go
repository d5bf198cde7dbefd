package process

import (
	"context"
	"errors"
	"time"

	"authsvc/internal/doctor"
)

// How often Redis is checked, and how long that may take.
const (
	checkEvery   = time.Minute
	checkTimeout = 5 * time.Second
	// firstTimeout bounds how long a Redis that is unavailable keeps a process from
	// listening, and firstAgain is how soon it is tried again.
	firstTimeout = time.Second
	firstAgain   = 250 * time.Millisecond
	toldEvery    = 10 * time.Second
)

// redisMonitor checks Redis: before it is used, and each minute after that.
type redisMonitor struct {
	*Process
	redis doctor.RedisStore
	opts  doctor.RedisOptions
	found []doctor.Finding // by the last check
}

// newRedisMonitor returns nil for a store that is no Redis.
func newRedisMonitor(p *Process) *redisMonitor {
	r, ok := p.store.(doctor.RedisStore)
	if !ok {
		return nil
	}
	return &redisMonitor{Process: p, redis: r, opts: RedisOptions(p.cfg)}
}

// first checks Redis before it is used. It fails with a refusedRedis where Redis
// would get tokens wrong, and with another error while it is unavailable.
func (m *redisMonitor) first(ctx context.Context) error {
	err := m.check(ctx)
	var fatal refusedRedis
	for _, f := range m.found {
		if f.Severity == doctor.Error && f.Check != doctor.RedisUnavailable { // one primary of a Cluster does without another
			fatal = append(fatal, f)
		}
	}
	if len(fatal) > 0 {
		return fatal
	}
	return err
}

// untilFirst calls first until Redis is available. Now and then it logs why it is not,
// if that has changed.
func (m *redisMonitor) untilFirst(ctx context.Context) error {
	var told string
	var at time.Time
	for {
		err := m.withTimeout(ctx, checkTimeout, m.first)
		var refused refusedRedis
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return err
		}
		if told != err.Error() && time.Since(at) > toldEvery {
			m.storeChanged(err)
			told, at = err.Error(), time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(firstAgain):
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
			_ = m.withTimeout(ctx, checkTimeout, m.check) // that it is unavailable is logged elsewhere
		}
	}
}

func (m *redisMonitor) withTimeout(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// check checks Redis, and logs what has changed since the last time. It fails while
// Redis serves nobody, which is logged elsewhere.
func (m *redisMonitor) check(ctx context.Context) error {
	found, err := doctor.CheckRedis(ctx, m.redis, m.opts)
	if err != nil {
		if _, err := m.redis.Now(ctx); err != nil {
			return err
		}
		found = append(found, doctor.Unavailable(m.cfg.Store.String(), err))
	}
	appeared, gone := doctor.Changes(m.found, found)
	if err != nil { // what was found at those that did not answer stands
		found, gone = append(found, gone...), nil
	}
	for _, f := range appeared {
		f.Log(m.log)
	}
	for _, f := range gone {
		if f.Check != doctor.RedisExpiry { // a sample that has none says nothing of the others
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

// refusedRedis is why a process does not start: what is wrong with Redis would
// get tokens wrong, or lose them without a word.
type refusedRedis []doctor.Finding

func (r refusedRedis) Error() string {
	text := "Redis can't be used as it is:"
	for _, f := range r {
		text += "\n\n" + f.String()
	}
	return text
}
