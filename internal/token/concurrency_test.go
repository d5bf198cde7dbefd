package token

import (
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// together runs f in n goroutines that start at once.
func together(n int, f func(i int)) {
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { <-start; f(i) })
	}
	close(start)
	wg.Wait()
}

// count is how often a kind is among the events.
func count(events []EventKind, k EventKind) int {
	n := 0
	for _, e := range events {
		if e == k {
			n++
		}
	}
	return n
}

func TestTwentyRefreshesOfOneTokenAreOneRotation(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, tick := range []time.Duration{0, time.Millisecond} { // all in one millisecond; each in its own
		w := newWorld(t)
		w.clock.tick = tick
		first := w.issue(keyA)
		w.kinds()
		changes := w.store.changes

		pairs := make([]pair, 20)
		together(20, func(i int) {
			var err error
			if pairs[i], err = w.refresh(keyA, first.refresh, "", ""); err != nil {
				t.Error(err)
			}
		})
		for _, p := range pairs {
			if p != pairs[0] {
				t.Fatalf("two callers got two pairs: %v and %v", pairs[0], p)
			}
		}
		if n := w.store.changes - changes; n != 1 {
			t.Errorf("the grant changed %d times, want once", n)
		}
		if g := w.grant(first.refresh); g.Serial != 2 {
			t.Errorf("serial %d, want 2", g.Serial)
		}
		got := w.kinds()
		if len(got) != 20 || count(got, EventRefreshed)+count(got, EventRefreshRepeated) != 20 {
			t.Errorf("events %v, want one for each caller", got)
		}
		if tick != 0 && count(got, EventRefreshed) != 1 {
			t.Errorf("%d rotations were reported, want 1", count(got, EventRefreshed))
		}
		if w.inspect(first.access) != "" || w.inspect(pairs[0].access) != "" {
			t.Error("an access token of the grant is no longer active")
		}
		if w.mustRefresh(pairs[0].refresh) == pairs[0] {
			t.Error("the successor does not refresh")
		}
	}
}

func TestTwentyHealsAreOne(t *testing.T) {
	for _, tick := range []time.Duration{0, time.Millisecond} {
		w := newWorld(t)
		first := w.issue(keyA)
		old := w.held(first.refresh)
		w.clock.Advance(time.Second)
		lost := w.mustRefresh(w.mustRefresh(first.refresh).refresh)
		w.back(first.refresh, old)
		w.clock.tick = tick
		w.kinds()
		pairs := make([]pair, 20)
		together(20, func(i int) {
			var err error
			if pairs[i], err = w.refresh(keyA, lost.refresh, "", ""); err != nil {
				t.Error(err)
			}
		})
		for _, p := range pairs {
			if p != pairs[0] {
				t.Fatalf("two callers got two pairs: %v and %v", pairs[0], p)
			}
		}
		if got := w.kinds(); tick != 0 && (count(got, EventGrantHealed) != 1 || count(got, EventRefreshRepeated) != 19) {
			t.Errorf("events %v, want one heal and 19 repeats", got)
		}
		if w.inspect(pairs[0].access) != "" {
			t.Error("the healed access token is dead")
		}
	}
}

func TestTwentyRepeatsOfADeadPairGetOne(t *testing.T) {
	w := newWorld(t)
	w.lifetimes(5*time.Second, time.Hour)
	first := w.issue(keyA)
	dead := w.mustRefresh(first.refresh)
	w.clock.Advance(10 * time.Second)
	w.clock.tick = time.Millisecond
	changes := w.store.changes
	pairs := make([]pair, 20)
	together(20, func(i int) {
		var err error
		if pairs[i], err = w.refresh(keyA, first.refresh, "", ""); err != nil {
			t.Error(err)
		}
	})
	for _, p := range pairs {
		if p != pairs[0] || p.refresh != dead.refresh || p.access == dead.access {
			t.Fatalf("the pair was %v, and two callers got %v and %v", dead, pairs[0], p)
		}
	}
	if n := w.store.changes - changes; n != 1 {
		t.Errorf("the grant changed %d times, want once", n)
	}
}

func TestRacingRefreshesWithDifferentScopesHaveOneWinner(t *testing.T) {
	w := newWorld(t)
	w.clock.tick = time.Millisecond
	first := w.issue(keyA)
	var mu sync.Mutex
	won := map[string]map[pair]bool{}
	together(20, func(i int) {
		scope := []string{"orders.read", "orders.write"}[i%2]
		p, err := w.refresh(keyA, first.refresh, scope, "")
		mu.Lock()
		defer mu.Unlock()
		switch code(err) {
		case "":
			if won[scope] == nil {
				won[scope] = map[pair]bool{}
			}
			won[scope][p] = true
		case "2205":
		default:
			t.Error(err)
		}
	})
	if len(won) != 1 {
		t.Fatalf("both scopes won: %v", won)
	}
	for scope, pairs := range won {
		if len(pairs) != 1 {
			t.Errorf("%d pairs for %s", len(pairs), scope)
		}
		if g := w.grant(first.refresh); g.Scope != scope {
			t.Errorf("the grant's scope is %q, want %q", g.Scope, scope)
		}
	}
}

func TestARevocationWinsOverARacingRefresh(t *testing.T) {
	for range 100 {
		w := newWorld(t)
		w.clock.tick = time.Millisecond
		first := w.issue(keyA)
		got := make([]pair, 4)
		together(5, func(i int) {
			if i == 4 {
				if _, err := w.m.Revoke(t.Context(), w.as(keyA), first.refresh); err != nil {
					t.Error(err)
				}
				return
			}
			p, err := w.refresh(keyA, first.refresh, "", "")
			if code(err) != "" && code(err) != "2202" {
				t.Error(err)
			}
			got[i] = p
		})
		for _, p := range append(got, first) {
			if p.access == "" {
				continue
			}
			if c := w.inspect(p.access); c != "2203" {
				t.Fatalf("after the revocation an access token is %q", c)
			}
			if _, err := w.refresh(keyA, p.refresh, "", ""); code(err) != "2202" {
				t.Fatalf("after the revocation a refresh is %v", err)
			}
		}
	}
}

func TestAnAccessTokenRevokedDuringARefreshStaysRevoked(t *testing.T) {
	for range 100 {
		w := newWorld(t)
		w.clock.tick = time.Millisecond
		first := w.issue(keyA)
		var next pair
		together(2, func(i int) {
			if i == 0 {
				next = w.mustRefresh(first.refresh)
			} else if _, err := w.m.Revoke(t.Context(), w.as(keyA), first.access); err != nil {
				t.Error(err)
			}
		})
		if w.inspect(first.access) != "2203" || w.inspect(next.access) != "" {
			t.Fatalf("the revoked token is %q, its successor %q", w.inspect(first.access), w.inspect(next.access))
		}
	}
}

func TestManyAppsShareOneManager(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t)
	w.clock.tick = time.Microsecond
	together(12, func(i int) {
		key := mKeys[i%3]
		p := w.issue(key)
		for range 20 {
			next, err := w.refresh(key, p.refresh, "", "")
			if err != nil {
				t.Error(err)
				return
			}
			if c := w.inspect(next.access); c != "" {
				t.Errorf("a new access token is %q", c)
			}
			p = next
		}
		if _, err := w.m.Revoke(t.Context(), w.as(key), p.refresh); err != nil {
			t.Error(err)
		}
	})
	if n := len(w.store.records); n != 0 {
		t.Errorf("%d grants are left", n)
	}
}
