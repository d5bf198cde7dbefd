package faults

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// parted holds how many grants were acknowledged, how many of them were lost, and when the
// last of those was acknowledged, after the network was back.
type parted struct {
	acknowledged, lost int
	last               time.Duration
}

// partition cuts a process off, together with the primary and one of three Sentinels, until
// the others have named a new primary, and lets callers get tokens all the time. It returns
// how many grants were acknowledged and lost while the network was cut, and after that.
func partition(t *testing.T, binary string, cut time.Duration, args ...string) (during, after parted) {
	t.Helper()
	trio := redistest.StartTrioWith(t, redistest.TrioOptions{Divided: true, Unhurried: true, Args: args})
	old := trio.Primary()
	s := serve(t, binary, []string{trio.URL()})
	var ended atomic.Bool
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for !ended.Load() {
				s.send(issue, 0, "")
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	acknowledged := func() (n int) {
		for _, a := range s.history() {
			if a.outcome == done {
				n++
			}
		}
		return n
	}
	more := func(n int) {
		t.Helper()
		n += acknowledged()
		redistest.Eventually(t, "more grants", func() bool { return acknowledged() >= n })
	}
	more(50)
	replicated(t, old, "any", 2)
	began := time.Since(s.start)
	trio.Partition(true)
	trio.WaitPrimaryNot(old)
	for time.Since(s.start) < began+cut {
		time.Sleep(10 * time.Millisecond)
	}
	healed := time.Since(s.start)
	trio.Partition(false)
	trio.WaitWhole()
	whole := time.Since(s.start)
	more(50)
	ended.Store(true)
	callers.Wait()
	var firstGood time.Duration
	for _, a := range s.history() {
		if a.outcome != done {
			continue
		}
		gone := s.insist(t.Context(), check, 0, a.pair.Access).outcome == refused
		p := &after
		switch {
		case a.back <= began:
			if gone {
				t.Errorf("lost, though its issue was answered before: %s", a)
			}
			continue
		case a.back <= healed:
			p = &during
		}
		p.acknowledged++
		switch {
		case gone:
			p.lost++
			p.last = max(p.last, a.back-healed)
		case a.back > healed && firstGood == 0:
			firstGood = a.back - healed
		}
	}
	figure(t, "partition of %.1f s, 4 callers: %d of %d grants lost that were acknowledged meanwhile, %d of %d after it; the last lost %.2f s after it, the first kept %.2f s after it, all agreed after %.2f s",
		(healed - began).Seconds(), during.lost, during.acknowledged, after.lost, after.acknowledged, after.last.Seconds(), firstGood.Seconds(), (whole - healed).Seconds())
	return during, after
}

// The network cuts a process off, with the primary that it uses. What is acknowledged
// meanwhile is lost, but once the network is back, the process leaves the old primary,
// before the Sentinels turn that into a replica.
func TestSentinelPartition(t *testing.T) {
	if !*full {
		return // the short form is a test of redisconn
	}
	const cut = 15 * time.Second
	for name, args := range map[string][]string{
		"by default":                   nil,
		"with min-replicas-to-write 1": {"--min-replicas-to-write", "1", "--min-replicas-max-lag", "10"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, after := partition(t, authsvctest.Binary(t), cut, args...); after.last > 2*time.Second {
				t.Errorf("%d grants were lost, the last of them acknowledged %v after the network was back", after.lost, after.last)
			}
		})
	}
	control(t, "a process waits for the Sentinel that it knows", func(t *testing.T) {
		binary := authsvctest.BuildPatched(t, authsvctest.OldPrimaryIsKept)
		for range 3 { // whether that Sentinel is cut off as well is up to chance
			if _, after := partition(t, binary, cut); after.last > 2*time.Second {
				return
			}
		}
		t.Error("without the protection no grant was lost later than two seconds after the network was back")
	})
}
