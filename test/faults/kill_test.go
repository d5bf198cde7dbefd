package faults

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// always makes Redis keep what it acknowledges: it writes to disk before it answers.
var always = []string{"--appendonly", "yes", "--appendfsync", "always"}

// kills is a scenario in which redis-server is killed under load, and restarted at
// once.
type kills struct {
	binary string
	redis  []string // its arguments
	alone  bool     // see load
	// The load continues for at least this many refreshes and kills.
	refreshes, times int
}

func (k kills) run(t *testing.T) *service {
	t.Helper()
	r := redistest.Start(t, k.redis...)
	s := serve(t, k.binary, []string{r.URL(), r.URL()}, "--refresh-grace", "10m")
	began := time.Now()
	var killed atomic.Int64
	over := s.begin(load{callers: 32, alone: k.alone, enough: func() bool {
		return s.refreshed.Load() >= int64(k.refreshes) && killed.Load() >= int64(k.times)
	}})
	due := func() bool { // whether the next kill is due; in the short form by refreshes, not by time
		n := killed.Load() + 1
		if *full {
			return time.Since(began) >= time.Duration(n)*2*time.Second
		}
		return s.refreshed.Load() >= n*int64(k.refreshes/(k.times+1))
	}
	var kills, restarts []time.Duration
	for until(over, due) {
		kills = append(kills, time.Since(s.start))
		r.Kill()
		r.Restart()
		restarts = append(restarts, time.Since(s.start))
		killed.Add(1)
	}
	took := time.Since(began)
	if t.Failed() { // the load failed
		t.FailNow()
	}
	s.settle()

	history := s.history()
	var firsts, lasts []time.Duration
	for i, next := range append(kills[1:], time.Since(s.start)) {
		first, last := back(history, restarts[i], next)
		firsts, lasts = append(firsts, first), append(lasts, last)
	}
	figure(t, "%d refreshes acknowledged to 32 callers in %.1f s, Redis killed %d times; %d attempts ended without a verdict, the longest answer took %d ms",
		s.refreshed.Load(), took.Seconds(), killed.Load(), s.unsure.Load(), longest(history).Milliseconds())
	figure(t, "after a restart the first success came within %d ms, the last failure within %d ms, at most", slices.Max(firsts).Milliseconds(), slices.Max(lasts).Milliseconds())
	return s
}

// A Redis that writes to disk before it answers may die at any moment, and often: no
// token is spent twice, and no caller loses what was acknowledged to it.
func TestRedisKilled(t *testing.T) {
	k := kills{binary: authsvctest.Binary(t), redis: always, refreshes: size(1000, 20_000), times: size(4, 15)}
	k.run(t).judge(rules{late: defaultLate}).acquit(t)

	const times = 4
	for name, c := range map[string]struct {
		kills
		fault fault
		patch []authsvctest.Patch
	}{
		"Redis keeps nothing on disk":    {kills{times: times}, lost, nil},
		"a retry is taken for a replay":  {kills{redis: always, alone: true, times: times}, lost, []authsvctest.Patch{authsvctest.RetryIsReplay}},
		"a retry gets a pair of its own": {kills{redis: always, times: times}, doubleSpent, []authsvctest.Patch{authsvctest.RetryGetsItsOwnPair}},
	} {
		control(t, name, func(t *testing.T) {
			c.binary = authsvctest.BuildPatched(t, c.patch...)
			convict(t, c.fault, func() verdict { return c.run(t).judge(rules{late: defaultLate}) })
		})
	}
}
