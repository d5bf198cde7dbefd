package faults

import (
	"context"
	"errors"
	"sync"
	"time"

	"authsvc/internal/authsvctest"
)

const (
	// life is how often a caller refreshes a grant before it gets a new one.
	life = 20
	// crewSize is the number of callers that share a grant, if they do: all of them
	// refresh the same token, and none continues before all have their answer. (One
	// that came back with an older token would look like a thief.)
	crewSize = 4
)

// load is a number of callers that get, refresh, check and revoke tokens.
type load struct {
	callers int
	// alone gives each caller its own grants, and makes none repeat a request that was
	// answered. Otherwise every second caller shares its grants with others.
	alone bool
	// enough ends the load. The test fails if that takes longer than loadPatience.
	enough func() bool
}

// begin starts a load, and returns a channel that is closed when it is over. The load
// also ends with the test.
func (s *service) begin(l load) (over <-chan struct{}) {
	ctx, cancel := context.WithTimeout(s.t.Context(), loadPatience)
	ended := make(chan struct{})
	var crews sync.WaitGroup
	crew := func(first, size int) {
		crews.Go(func() {
			for n := 0; ctx.Err() == nil && !l.enough(); n++ {
				s.grant(ctx, l, first, size, n)
			}
		})
	}
	shared := l.callers / 2
	if l.alone {
		shared = 0
	}
	for first := 0; first < shared; first += crewSize {
		crew(first, min(crewSize, shared-first))
	}
	for first := shared; first < l.callers; first++ {
		crew(first, 1)
	}
	go func() {
		defer close(ended)
		crews.Wait()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.t.Errorf("after %v the load was not done: %d refreshes, %d attempts without a verdict", loadPatience, s.refreshed.Load(), s.unsure.Load())
		}
	}()
	s.t.Cleanup(func() {
		cancel()
		<-ended
	})
	return ended
}

// grant takes the nth grant of a crew, whose first caller has this number, through its
// life.
func (s *service) grant(ctx context.Context, l load, first, size, n int) {
	a := s.insist(ctx, issue, first, "")
	for round := 1; round <= life && a.outcome == done && ctx.Err() == nil && !l.enough(); round++ {
		held := a.pair
		var wishes []wish
		for range size {
			wishes = append(wishes, wish{refresh, held.Refresh})
		}
		switch {
		case round%5 == 0 && round < life:
			wishes = append(wishes, wish{revoke, held.Access})
		case round == life && n%2 == 0:
			wishes = append(wishes, wish{revoke, held.Refresh})
		}
		a = s.together(ctx, first+round, wishes...)[0]
		switch {
		case round%2 == 0:
			s.insist(ctx, check, first, held.Access)
		case a.outcome == done:
			s.insist(ctx, check, first, a.pair.Access)
		}
		if round%3 == 0 && !l.alone {
			s.insist(ctx, refresh, first+round+1, held.Refresh) // once more, at another process
		}
	}
}

// until waits for a condition, and reports whether it held before the end of a load.
func until(over <-chan struct{}, holds func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-over:
			return false
		case <-tick.C:
		}
	}
	return true
}

// settle presents, after the faults, every access token that any caller ever got, and
// the newest refresh token of each grant, even of revoked ones: the judge knows which
// must be valid.
func (s *service) settle() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), settlePatience)
	defer cancel()
	presented := map[authsvctest.Pair]bool{}
	newest := map[grantID]string{}
	todo := make(chan wish)
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			for w := range todo {
				if a := s.insist(ctx, w.deed, i, w.token); w.deed == refresh && a.outcome == done {
					s.insist(ctx, check, i, a.pair.Access)
				}
			}
		})
	}
	for _, a := range s.history() {
		if a.pair.Refresh == "" || presented[a.pair] {
			continue
		}
		presented[a.pair] = true
		todo <- wish{check, a.pair.Access}
		c := claims(a.pair.Refresh)
		if held, ok := newest[c.Grant]; !ok || claims(held).Serial < c.Serial {
			newest[c.Grant] = a.pair.Refresh
		}
	}
	for _, held := range newest {
		todo <- wish{refresh, held}
	}
	close(todo)
	callers.Wait()
	if ctx.Err() != nil {
		s.t.Errorf("%v after the faults the service still gave no verdict", settlePatience)
	}
}

// These are long: what they limit is not measured.
const (
	loadPatience   = 5 * time.Minute
	settlePatience = 3 * time.Minute
)
