package faults

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// Redis is far away, and --store-timeout fits: every request is answered, those that wait
// for a new connection, too.
func TestRedisIsFarAway(t *testing.T) {
	sideBySide(t)
	for _, away := range []time.Duration{80 * time.Millisecond, 200 * time.Millisecond} {
		// Ten round trips are enough for requests. On a busy machine other things take
		// time as well.
		timeout := time.Duration(size(25, 10)) * away
		t.Run(away.String(), func(t *testing.T) {
			sideBySide(t)
			far(t, authsvctest.Binary(t), away, timeout).none(t)
		})
	}
	control(t, "one answer of Redis may take 100 ms", func(t *testing.T) {
		binary := authsvctest.BuildPatched(t, authsvctest.ReadsAreCapped)
		far(t, binary, 200*time.Millisecond, 2*time.Second).some(t, "ready")
	})
}

// far starts a process on a Redis that a round trip to takes this long, and takes tokens
// through their lives. A connection is renewed every two seconds.
func far(t *testing.T, binary string, away, timeout time.Duration) *findings {
	t.Helper()
	const callers, patience = 4, 30 * time.Second
	f := &findings{}
	p := redistest.NewProxy(t, redistest.Start(t).Addr())
	p.Delay(away)
	s := authsvctest.NewSite(t).StartBinary(binary, p.URL(), "--store-timeout", timeout.String())
	for start := time.Now(); !s.Ready(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			f.add("ready: not after %v", patience)
			return f
		}
	}
	requests, began := 0, time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for n := range size(2, 20) {
				what := func(did string) string { return fmt.Sprintf("caller %d, token %d: %s", c, n, did) }
				post := func(did, path, app string, params ...string) authsvctest.Answer {
					a, err := s.Post(path, app, params...)
					if err != nil {
						f.add("%s: %v", what(did), err)
					} else {
						f.want(what(did), a, 200, "")
					}
					mu.Lock()
					defer mu.Unlock()
					requests++
					return a
				}
				a := post("issue", "/oauth/token", authsvctest.Worker, "grant_type", "client_credentials")
				b := post("refresh", "/oauth/token", authsvctest.Worker, "grant_type", "refresh_token", "refresh_token", a.Pair().Refresh)
				f.active(what("introspect"), post("introspect", "/oauth/introspect", authsvctest.Gateway, "token", b.Pair().Access))
				c := post("repeat", "/oauth/token", authsvctest.Worker, "grant_type", "refresh_token", "refresh_token", a.Pair().Refresh)
				if c.Pair() != b.Pair() {
					f.add("%s: another pair", what("repeat"))
				}
				post("revoke an access token", "/oauth/revoke", authsvctest.Worker, "token", b.Pair().Access)
				post("revoke a refresh token", "/oauth/revoke", authsvctest.Worker, "token", b.Pair().Refresh)
			}
		})
	}
	all.Wait()
	if n := s.Stderr.Count("Redis breaker opened"); n > 0 {
		f.add("the breaker opened %d times", n)
	}
	if away, ok := s.Metric(`authsvc_redis_away_seconds_total{shard="all"}`); *full && (!ok || away > 0) {
		f.add("it was taken for an outage, for %v s", away)
	}
	figure(t, "Redis is %v away, --store-timeout %v: %d requests in %.1f s, %d findings", away, timeout, requests, time.Since(began).Seconds(), len(f.all))
	return f
}
