package faults

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// deadline is the default --store-timeout.
const deadline = 300 * time.Millisecond

// freeze is a scenario in which redis-server is paused under load (SIGSTOP):
// connections stay open, and what was sent meanwhile is done once it continues.
type freeze struct {
	binary string
	grace  string        // of the refresh
	wait   time.Duration // of a request for the store
	alone  bool          // see load
	frozen time.Duration // at least
	// swap pauses it while a swap is on its way to it.
	swap bool
}

// thaw holds what was measured.
type thaw struct {
	longest     time.Duration // see there
	first, last time.Duration // see back
	replays     int           // grants that the service took for replayed
}

func (f freeze) run(t *testing.T) (*service, thaw) {
	t.Helper()
	const callers = 32
	r := redistest.Start(t)
	proxy := redistest.NewProxy(t, r.Addr())
	store := r.URL()
	if f.swap {
		store = proxy.URL()
	}
	s := serve(t, f.binary, []string{store, store}, "--refresh-grace", f.grace, "--store-timeout", f.wait.String())
	var enough atomic.Bool
	over := s.begin(load{callers: callers, alone: f.alone, enough: enough.Load})
	more := func(count *atomic.Int64, n int) func() bool {
		enough := count.Load() + int64(n)
		return func() bool { return count.Load() >= enough }
	}
	until(over, more(&s.refreshed, size(200, 500)))
	goOn := func() {}
	if f.swap {
		var here <-chan struct{}
		here, goOn = holdSwap(proxy)
		defer goOn()
		select {
		case <-here:
		case <-over:
		}
	}
	r.Pause()
	goOn()
	frozen, told := time.Since(s.start), more(&s.unsure, 3*callers)
	until(over, func() bool { return time.Since(s.start)-frozen >= f.frozen && told() })
	thawed := time.Since(s.start)
	r.Resume()
	until(over, more(&s.refreshed, size(200, 500)))
	enough.Store(true)
	<-over
	s.settle()

	history := s.history()
	m := thaw{longest: longest(history)}
	m.first, m.last = back(history, thawed, time.Since(s.start))
	for _, srv := range s.servers {
		m.replays += srv.Stderr.Count("refresh_replayed")
	}
	figure(t, "frozen for %.1f s under %d callers: %d attempts ended without a verdict, the longest answer took %d ms; %d grants taken for replayed; first success %d ms after the thaw, last failure %d ms after it",
		(thawed - frozen).Seconds(), callers, s.unsure.Load(), m.longest.Milliseconds(), m.replays, m.first.Milliseconds(), m.last.Milliseconds())
	return s, m
}

// holdSwap makes a proxy stop once it has received a swap, and hold the swap and
// everything else until goOn is called. here is closed once it holds the swap.
func holdSwap(p *redistest.Proxy) (here <-chan struct{}, goOn func()) {
	came, may := make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() {
		close(came)
		<-may
	})
	p.CutReplies(1, func(request []byte) bool {
		if bytes.Contains(bytes.ToUpper(request), []byte("EVALSHA")) {
			hold()
		}
		return false // no reply is cut
	})
	return came, sync.OnceFunc(func() { close(may) })
}

// Redis hangs: every request is answered in time, no retry is taken for a replay, and
// the service recovers at once.
func TestRedisFrozen(t *testing.T) {
	f := freeze{binary: authsvctest.Binary(t), grace: "10m", wait: deadline, frozen: time.Duration(size(0, 10)) * time.Second}
	s, m := f.run(t)
	s.judge(rules{late: defaultLate}).acquit(t)
	for _, a := range s.history() {
		if a.outcome == unknown && a.code == "" {
			t.Errorf("not answered: %s", a)
		}
	}
	if m.replays > 0 {
		t.Errorf("%d grants were taken for replayed", m.replays)
	}
	if *full && (m.longest > 2*deadline || m.first > time.Second || m.last > time.Second) {
		t.Errorf("want every answer within %v, and the service to recover, without failures, within a second", 2*deadline)
	}
	control(t, "a request has no deadline", func(t *testing.T) {
		f.binary, f.frozen = authsvctest.BuildPatched(t, authsvctest.RequestsWait), 3*time.Second
		if _, m := f.run(t); m.longest <= 2*deadline {
			t.Error("without the protection every answer was in time")
		}
	})
}

// Redis hangs for longer than the grace: writes that callers gave up on must not be
// done when it continues; otherwise the callers would come back too late, as thieves.
func TestRedisFrozenBeyondTheGrace(t *testing.T) {
	sideBySide(t)
	f := freeze{binary: authsvctest.Binary(t), grace: "4s", wait: deadline, alone: true, frozen: 6 * time.Second, swap: true}
	if !*full { // on a busy machine callers give up earlier, and requests must not take longer than the grace
		f.grace, f.wait, f.frozen = "10s", 2*time.Second, 14*time.Second
	}
	run := func(t *testing.T) verdict {
		s, _ := f.run(t)
		return s.judge(rules{late: f.wait + f.wait/2 + 50*time.Millisecond})
	}
	run(t).acquit(t)
	control(t, "writes that were given up are done late", func(t *testing.T) {
		f.binary = authsvctest.BuildPatched(t, authsvctest.SwapIsNotFenced)
		convict(t, lost, func() verdict { return run(t) })
	})
}
