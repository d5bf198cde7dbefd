package process

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"authsvc/internal/checkup"
)

// How often Redis is examined, and how long that may take.
const (
	checkupEvery   = time.Minute
	checkupTimeout = 5 * time.Second
	// firstCheckup bounds how long a Redis that is away keeps a process from
	// listening, and firstAgain is how soon it is tried again.
	firstCheckup = time.Second
	firstAgain   = 250 * time.Millisecond
	toldEvery    = 10 * time.Second
)

// redisMonitor examines Redis: before it is used, and each minute after that.
type redisMonitor struct {
	*Process
	redis checkup.RedisStore
	opts  checkup.RedisOptions
	found []checkup.Finding // at the last examination
}

// newRedisMonitor returns nil for a store that is no Redis.
func newRedisMonitor(p *Process) *redisMonitor {
	r, ok := p.store.(checkup.RedisStore)
	if !ok {
		return nil
	}
	return &redisMonitor{Process: p, redis: r, opts: CheckupOptions(p.cfg)}
}

// first examines Redis before it is used. It fails with a refusedRedis where Redis
// would get tokens wrong, and with another error while it is out of reach.
func (m *redisMonitor) first(ctx context.Context) error {
	err := m.examine(ctx)
	var fatal refusedRedis
	for _, f := range m.found {
		if f.Severity == checkup.Error && f.Check != checkup.RedisReach { // one primary of a Cluster does without another
			fatal = append(fatal, f)
		}
	}
	if len(fatal) > 0 {
		return fatal
	}
	return err
}

// untilFirst is first, again and again until Redis is in reach. Now and then it
// says why it is not, if that has changed.
func (m *redisMonitor) untilFirst(ctx context.Context) error {
	var told string
	var at time.Time
	for {
		err := m.withTimeout(ctx, checkupTimeout, m.first)
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

// run examines Redis each minute until ctx ends.
func (m *redisMonitor) run(ctx context.Context) {
	tick := time.NewTicker(checkupEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = m.withTimeout(ctx, checkupTimeout, m.examine) // one that is away is told of elsewhere
		}
	}
}

func (m *redisMonitor) withTimeout(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// examine examines Redis, and logs what has changed since the last time. It fails
// while Redis serves nobody, which is told of elsewhere.
func (m *redisMonitor) examine(ctx context.Context) error {
	found, err := checkup.CheckRedis(ctx, m.redis, m.opts)
	if err != nil {
		if _, err := m.redis.Now(ctx); err != nil {
			return err
		}
		found = append(found, checkup.Unavailable(m.cfg.Store.String(), err))
	}
	appeared, gone := checkup.Changes(m.found, found)
	if err != nil { // what was found at those that did not answer stands
		found, gone = append(found, gone...), nil
	}
	for _, f := range appeared {
		m.log.Log(ctx, f.Severity.Level(), "Redis: "+f.What, "check", f.Check, "severity", f.Severity.String(), "redis", f.Subject, "why", f.Why, "fix", f.Fix)
	}
	for _, f := range gone {
		if f.Check != checkup.RedisExpiry { // a sample that has none says nothing of the others
			m.log.Info("Redis: mended", "check", f.Check, "redis", f.Subject)
		}
	}
	m.found = found
	worst := map[string]int{}
	for _, f := range found {
		worst[f.Check] = max(worst[f.Check], int(f.Severity)+1)
	}
	for _, name := range checkup.RedisChecks() {
		m.metrics.RedisCheck(name, worst[name])
	}
	return nil
}

// refusedRedis is why a process does not start: what is wrong with Redis would
// get tokens wrong, or lose them without a word.
type refusedRedis []checkup.Finding

func (r refusedRedis) Error() string {
	var b strings.Builder
	b.WriteString("Redis can't be used as it is:")
	for _, f := range r {
		fmt.Fprintf(&b, "\n  %s (%s): %s\n    Why: %s\n    Fix: %s", f.Check, f.Subject, f.What, f.Why, f.Fix)
		if f.Check == checkup.RedisEviction {
			b.WriteString("\n    Or insist, with --allow-eviction.")
		}
	}
	return b.String()
}
