package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"authsvc/internal/checkup"
	"authsvc/internal/store"
)

// How often Redis is examined, and how long that may take.
const (
	checkupEvery   = time.Minute
	checkupTimeout = 5 * time.Second
	// firstCheckup bounds how long a Redis that is away keeps a process from
	// listening, and firstAgain is how soon it is tried again.
	firstCheckup = time.Second
	firstAgain   = 250 * time.Millisecond
)

// redisWatch examines Redis: before it is used, and each minute after that.
type redisWatch struct {
	*service
	redis *store.Redis
	opts  checkup.RedisOptions
	found []checkup.Finding // at the last examination
}

// newRedisWatch is nil for a store that is no Redis.
func newRedisWatch(s *service) *redisWatch {
	r, ok := s.store.(*store.Redis)
	if !ok {
		return nil
	}
	_, opts := checkupOptions(s.cfg)
	return &redisWatch{service: s, redis: r, opts: opts}
}

// first examines Redis before it is used. It fails with a *refusedRedis where
// Redis would get tokens wrong, and with another error while it is out of reach.
func (w *redisWatch) first(ctx context.Context) error {
	err := w.examine(ctx)
	var fatal refusedRedis
	for _, f := range w.found {
		if f.Severity == checkup.Error {
			fatal = append(fatal, f)
		}
	}
	switch {
	case len(fatal) > 0:
		return fatal
	case err == nil:
		return nil
	}
	if _, later := w.redis.Now(ctx); later == nil { // one primary of a Cluster does without another
		return nil
	}
	return err
}

// untilFirst is first, again and again until Redis is in reach.
func (w *redisWatch) untilFirst(ctx context.Context) error {
	for told := false; ; {
		err := w.within(ctx, checkupTimeout, w.first)
		var refused refusedRedis
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return err
		}
		if !told {
			w.storeChanged(err)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(firstAgain):
		}
	}
}

// run examines Redis each minute until ctx ends.
func (w *redisWatch) run(ctx context.Context) {
	tick := time.NewTicker(checkupEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = w.within(ctx, checkupTimeout, w.examine) // one that is away is told of elsewhere
		}
	}
}

func (w *redisWatch) within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// examine examines Redis, and logs what has changed since the last time.
func (w *redisWatch) examine(ctx context.Context) error {
	found, err := checkup.AskRedis(ctx, w.redis, w.opts)
	if err != nil && len(found) == 0 {
		return err // nobody has said anything: what was known before stands
	}
	appeared, gone := checkup.Changes(w.found, found)
	for _, f := range appeared {
		w.log.Log(ctx, f.Severity.Level(), "Redis: "+f.What, "check", f.Check, "severity", f.Severity.String(), "redis", f.Subject, "why", f.Why, "fix", f.Fix)
	}
	for _, f := range gone {
		if f.Check != checkup.RedisExpiry { // a sample that has none says nothing of the others
			w.log.Info("Redis: mended", "check", f.Check, "redis", f.Subject)
		}
	}
	w.found = found
	worst := map[string]int{}
	for _, f := range found {
		worst[f.Check] = max(worst[f.Check], int(f.Severity)+1)
	}
	for _, name := range checkup.RedisChecks() {
		w.metrics.RedisCheck(name, worst[name])
	}
	return err
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
