package faults

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// replicated waits until the replicas of a primary have all that it has now. key is one
// that may be set there.
func replicated(t *testing.T, primary *redistest.Server, key string, replicas int) {
	t.Helper()
	c := primary.Client().Conn()
	defer c.Close()
	// WAIT covers what was written before the last command of its own connection.
	if err := c.Set(t.Context(), key, "", time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Do(t.Context(), "WAIT", replicas, 10_000).Int(); err != nil || n < replicas {
		t.Fatalf("%d of %d replicas have everything, %v", n, replicas, err)
	}
}

// disturb puts processes of a build under load, calls what to disturb their Redis, and
// lets the load continue until callers have again got enough answers. It returns the
// service with its history, and when in it the disturbance began and ended.
func disturb(t *testing.T, binary string, stores []string, what func(), args ...string) (s *service, began, ended time.Duration) {
	t.Helper()
	s = serve(t, binary, stores, append(args, "--refresh-grace", "10m")...)
	var enough atomic.Bool
	over := s.begin(load{callers: size(16, 32), enough: enough.Load})
	refreshes := func(n int) {
		t.Helper()
		goal := s.refreshed.Load() + int64(n)
		if !until(over, func() bool { return s.refreshed.Load() >= goal }) {
			t.Fatal("the load ended too early")
		}
	}
	refreshes(size(200, 1000))
	began = time.Since(s.start)
	what()
	ended = time.Since(s.start)
	refreshes(size(200, 2000))
	enough.Store(true)
	<-over
	s.settle()
	return s, began, ended
}

// report logs what callers noticed of a disturbance.
func report(t *testing.T, what string, s *service, began, ended time.Duration) {
	t.Helper()
	history := s.history()
	var unsure int
	for _, a := range history {
		if a.outcome == unknown {
			unsure++
		}
	}
	first, last := back(history, ended, time.Since(s.start))
	figure(t, "%s: %d refreshes acknowledged, %d attempts without a verdict, the longest answer took %d ms; the disturbance lasted %.1f s, then the first success came within %d ms, the last failure within %d ms",
		what, s.refreshed.Load(), unsure, longest(history).Milliseconds(), (ended - began).Seconds(), first.Milliseconds(), last.Milliseconds())
	strict := judge(history, rules{late: defaultLate})
	for f, found := range strict.faults {
		figure(t, "%s: by the rules of a store that loses nothing: %d %s", what, len(found), f)
	}
}

// failovers holds the ways to lose the primary of a trio.
var failovers = map[string]func(t *testing.T, trio *redistest.Trio){
	"killed": func(t *testing.T, trio *redistest.Trio) {
		old := trio.Primary()
		replicated(t, old, "any", 2)
		old.Kill()
		trio.WaitPrimaryNot(old)
		old.Restart()
	},
	// It hangs until another server is the primary, and then continues as if nothing
	// had happened, until a Sentinel tells it.
	"a zombie": func(t *testing.T, trio *redistest.Trio) {
		old := trio.Primary()
		replicated(t, old, "any", 2)
		old.Pause()
		trio.WaitPrimaryNot(old)
		old.Resume()
		trio.WaitWhole()
	},
}

// The primary that Sentinels know is lost: the service follows them, and nobody is
// logged out.
func TestSentinelFailover(t *testing.T) {
	for name, lose := range failovers {
		t.Run(name, func(t *testing.T) {
			trio := redistest.StartTrio(t)
			s, began, ended := disturb(t, authsvctest.Binary(t), []string{trio.URL(), trio.URL()}, func() { lose(t, trio) })
			report(t, name, s, began, ended)
			s.judge(rules{late: defaultLate, lossy: true, began: began, over: ended}).acquit(t)
		})
	}
	control(t, "a retry is taken for a replay", func(t *testing.T) {
		binary := authsvctest.BuildPatched(t, authsvctest.RetryIsReplay)
		convict(t, lost, func() verdict {
			trio := redistest.StartTrio(t)
			s, began, ended := disturb(t, binary, []string{trio.URL(), trio.URL()}, func() { failovers["killed"](t, trio) })
			return s.judge(rules{late: defaultLate, lossy: true, began: began, over: ended})
		})
	})
	// This shows why the service follows the Sentinels: what a process writes to the
	// zombie is lost.
	control(t, "a process does not follow the Sentinels", func(t *testing.T) {
		binary := authsvctest.Binary(t)
		convict(t, lost, func() verdict {
			trio := redistest.StartTrio(t)
			stays := trio.Primary().URL()
			s, _, _ := disturb(t, binary, []string{trio.URL(), stays}, func() { failovers["a zombie"](t, trio) })
			return s.judge(rules{late: defaultLate})
		})
	})
}

// isolated holds rotations that a primary acknowledged after it was cut off, and that
// its successor does not have.
type isolated struct {
	trio      *redistest.Trio
	site      *authsvctest.Site
	follows   *authsvctest.Server // follows the Sentinels
	newest    []authsvctest.Pair  // acknowledged, and lost
	refreshed int
}

func isolate(t *testing.T, binary string, grants int) isolated {
	t.Helper()
	trio := redistest.StartTrioWith(t, redistest.TrioOptions{Proxied: true})
	site := authsvctest.NewSite(t)
	old := trio.Primary()
	i := isolated{trio: trio, site: site, follows: site.StartBinary(binary, trio.URL())}
	stays := site.StartBinary(binary, old.URL()) // bypasses the proxy
	i.follows.WaitReady()
	stays.WaitReady()
	for range grants {
		i.newest = append(i.newest, i.follows.Issue(authsvctest.Worker).Pair())
	}
	if n, err := old.Client().Do(t.Context(), "WAIT", 2, 10_000).Int(); err != nil || n != 2 {
		t.Fatalf("%d replicas have the grants, %v", n, err)
	}
	trio.ProxyOf(old).Blackhole(true)
	for n := range i.newest {
		for range 2 {
			a := stays.Refresh(authsvctest.Worker, i.newest[n].Refresh)
			authsvctest.Want(t, "a refresh at the primary that is cut off", a, 200, "")
			i.newest[n] = a.Pair()
			i.refreshed++
		}
	}
	trio.WaitPrimaryNot(old)
	return i
}

// A failover loses acknowledged rotations. The tokens vouch for themselves: nobody is
// logged out, and the access tokens stay valid.
func TestFailoverThatLosesRotations(t *testing.T) {
	i := isolate(t, authsvctest.Binary(t), size(5, 100))
	i.follows.WaitReady()
	for _, p := range i.newest {
		redistest.Eventually(t, "an access token of a lost rotation to be accepted", func() bool {
			a := i.follows.Introspect(p.Access)
			if a.Status == 200 && !a.Active() {
				t.Fatalf("an access token of a lost rotation is not active: %s", a.Body)
			}
			return a.Active()
		})
		a := i.follows.Refresh(authsvctest.Worker, p.Refresh)
		authsvctest.Want(t, "a refresh after the rotations before it were lost", a, 200, "")
		if b := i.follows.Refresh(authsvctest.Worker, p.Refresh); b.Pair() != a.Pair() {
			t.Errorf("its retry got %s, not %s", b.Body, a.Body)
		}
		if !i.follows.Introspect(a.Pair().Access).Active() {
			t.Error("the new access token is not active")
		}
	}
	if n := i.follows.Stderr.Count("grant_healed"); n != len(i.newest) {
		t.Errorf("%d grants were healed, want %d", n, len(i.newest))
	}
	figure(t, "%d rotations of %d grants, acknowledged by a primary that was cut off, were lost in the failover: %d callers were logged out", i.refreshed, len(i.newest), 0)

	control(t, "a token that is newer than its grant is refused", func(t *testing.T) {
		i := isolate(t, authsvctest.BuildPatched(t, authsvctest.NewerTokenIsForged), 5)
		i.follows.WaitReady()
		for _, p := range i.newest {
			authsvctest.Want(t, "refresh", i.follows.Refresh(authsvctest.Worker, p.Refresh), 400, refreshInvalid)
		}
	})
}

// Asynchronous replication has this limit: writes that a primary acknowledges after it
// was cut off are lost, and min-replicas-to-write limits for how long it goes on
// acknowledging.
func TestIsolatedPrimaryLosesWhatItAcknowledges(t *testing.T) {
	if !*full {
		return // it measures what is not promised, so there is nothing to assert
	}
	for name, args := range map[string][]string{
		"by default":                   nil,
		"with min-replicas-to-write 1": {"--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"},
	} {
		trio := redistest.StartTrioWith(t, redistest.TrioOptions{Proxied: true, Args: args, DownAfter: 3 * time.Second})
		old := trio.Primary()
		site := authsvctest.NewSite(t)
		stays := site.Start(old.URL())
		stays.WaitReady()
		s := newService(t, stays)
		trio.ProxyOf(old).Blackhole(true)
		cut := time.Since(s.start)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for ctx.Err() == nil {
			s.send(issue, 0, "")
		}
		cancel()
		trio.WaitPrimaryNot(old)
		follower := site.Start(trio.URL())
		follower.WaitReady()
		follows := newService(t, follower)
		var acknowledged, gone int
		var last time.Duration
		all := s.history()
		for _, a := range all {
			if a.outcome != done {
				continue
			}
			acknowledged++
			last = a.back
			if acknowledged <= 1000 && follows.insist(t.Context(), check, 0, a.pair.Access).outcome == refused {
				gone++
			}
		}
		figure(t, "%s, a primary that was cut off acknowledged %d of %d grants in the next 10 s, the last after %.1f s; after the failover %d of the first %d were gone",
			name, acknowledged, len(all), (last - cut).Seconds(), gone, min(acknowledged, 1000))
	}
}

// One of three primaries is lost: the others keep working, its replica takes over, and
// the service finds it.
func TestClusterLosesAPrimary(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server){
		"killed": (*redistest.Server).Kill, "frozen": (*redistest.Server).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			s, began, ended := losePrimary(t, authsvctest.Binary(t), lose)
			report(t, "a primary of a Cluster "+name, s, began, ended)
			s.judge(rules{late: defaultLate, lossy: true, began: began, over: ended}).acquit(t)
			if _, last := back(s.history(), ended, time.Since(s.start)); *full && last > time.Second {
				t.Errorf("the last failure came %v after the promotion", last)
			}
		})
	}
	control(t, "the layout is not refreshed", func(t *testing.T) {
		binary := authsvctest.BuildPatched(t, authsvctest.LayoutStays)
		s, _, ended := losePrimary(t, binary, (*redistest.Server).Kill)
		if _, last := back(s.history(), ended, time.Since(s.start)); last < 3*time.Second {
			t.Errorf("the last failure came %v after the promotion", last)
		}
	})
}

func losePrimary(t *testing.T, binary string, lose func(*redistest.Server)) (s *service, began, ended time.Duration) {
	t.Helper()
	c := redistest.StartCluster(t)
	lost := c.Primaries()[0]
	return disturb(t, binary, []string{c.URL(), c.URL()}, func() {
		replicated(t, lost, keyOn(c, lost), 1)
		lose(lost)
		c.WaitPromoted(lost, keyOn(c, lost))
	})
}

// keyOn returns a key that belonged to a server at the start of its cluster.
func keyOn(c *redistest.Cluster, s *redistest.Server) string {
	for i := 0; ; i++ {
		key := string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
		if owner := redistest.Slot(key) * 3 / (1 << 14); c.Servers()[owner] == s {
			return key
		}
	}
}

// A slot moves to another primary under load: nobody notices.
func TestClusterMovesASlot(t *testing.T) {
	var args []string
	if !*full { // on a busy machine an attempt can take longer than the default
		args = authsvctest.Patient
	}
	moves := func(t *testing.T, binary string) *service {
		t.Helper()
		c := redistest.StartCluster(t)
		s, began, ended := disturb(t, binary, []string{c.URL(), c.URL()}, func() {
			for n := range size(2, 10) {
				// The slot of a grant in use, so that its calls coincide with the move.
				records := c.Dump()
				slot := redistest.Slot(records[(n*7919)%len(records)].Key)
				to := c.Primaries()[n%3]
				m := c.Migrate(slot, to)
				if c.PrimaryOf(records[(n*7919)%len(records)].Key) == to {
					to = c.Primaries()[(n+1)%3]
					m = c.Migrate(slot, to)
				}
				m.Begin()
				for m.Move(1) > 0 {
				}
				m.Finish()
			}
		}, args...)
		report(t, "slots of a Cluster moved", s, began, ended)
		return s
	}
	s := moves(t, authsvctest.Binary(t))
	s.judge(rules{late: defaultLate}).acquit(t)
	if n := s.unsure.Load(); n > 0 {
		t.Errorf("%d attempts ended without a verdict", n)
	}
	control(t, "redirections are not followed", func(t *testing.T) {
		s := moves(t, authsvctest.BuildPatched(t, authsvctest.RedirectionsFail))
		if s.unsure.Load() == 0 {
			t.Error("every attempt ended with a verdict")
		}
	})
}

// A refresh and a revocation that reach a hanging Redis, and that their callers give up
// on, never happen, whatever the topology.
func TestGivenUpIsFenced(t *testing.T) {
	for name, start := range places {
		run := func(t *testing.T, binary string) (late string) {
			t.Helper()
			f := start(t)
			site := authsvctest.NewSite(t)
			s, calm := site.StartBinary(binary, f.url), site.StartBinary(binary, f.url, authsvctest.Patient...)
			s.WaitReady()
			calm.WaitReady()
			before := f.dump()
			p := calm.Issue(authsvctest.Worker).Pair()
			primary, proxy := f.of(newKey(before, f.dump()))
			// It must be a refresh of this grant: its primary must have the script.
			p = calm.Refresh(authsvctest.Worker, p.Refresh).Pair()

			giveUp := func(what string, send func() authsvctest.Answer) {
				t.Helper()
				done := make(chan authsvctest.Answer, 1)
				here, goOn := holdSwap(proxy) // before it is sent, or it may be done at once
				defer func() { goOn() }()
				for sent := false; !sent; {
					go func() { done <- send() }()
					select {
					case <-here:
						sent = true
					case a := <-done: // on a busy machine it timed out before it got that far
						authsvctest.Want(t, what, a, 503, unavailable)
						here, goOn = holdSwap(proxy)
					}
				}
				evals := primary.Calls("evalsha")
				primary.Pause()
				goOn()
				authsvctest.Want(t, what, <-done, 503, unavailable)
				time.Sleep(defaultLate - deadline) // for the fault of the clock, until when it may still be done
				primary.Resume()
				redistest.Eventually(t, "Redis to process what it was sent", func() bool { return primary.Calls("evalsha") > evals })
				s.WaitReady()
			}
			giveUp("revoke", func() authsvctest.Answer { return s.Revoke(authsvctest.Worker, p.Access) })
			giveUp("refresh", func() authsvctest.Answer { return s.Refresh(authsvctest.Worker, p.Refresh) })
			answered := func(what string, send func() authsvctest.Answer) (a authsvctest.Answer) {
				redistest.Eventually(t, what, func() bool { a = send(); return a.Status == 200 })
				return a
			}
			if !answered("an introspection", func() authsvctest.Answer { return calm.Introspect(p.Access) }).Active() {
				late += "revocation "
			}
			answered("a refresh", func() authsvctest.Answer { return calm.Refresh(authsvctest.Worker, p.Refresh) })
			repeated, ok := calm.Metric(`authsvc_grant_events_total{event="refresh_repeated"}`)
			if !ok {
				t.Fatal("the metrics do not count repeated refreshes")
			}
			if repeated > 0 { // the last refresh was a repeated one
				late += "refresh "
			}
			return late
		}
		t.Run(name, func(t *testing.T) {
			if late := run(t, authsvctest.Binary(t)); late != "" {
				t.Errorf("landed late: %s", late)
			}
			control(t, "without the fence", func(t *testing.T) {
				late := run(t, authsvctest.BuildPatched(t, authsvctest.SwapIsNotFenced))
				figure(t, "without the fence landed late: %s", late)
				if late == "" {
					t.Error("nothing landed late")
				}
			})
		})
	}
}

// newKey returns the key of a grant that is in the second of two dumps, but not in the
// first.
func newKey(before, after []redistest.Record) string {
	had := map[string]bool{}
	for _, r := range before {
		had[r.Key] = true
	}
	for _, r := range after {
		if !had[r.Key] && strings.HasPrefix(r.Key, "authsvc:") && !strings.HasPrefix(r.Key, "authsvc:{") {
			return r.Key
		}
	}
	return ""
}
