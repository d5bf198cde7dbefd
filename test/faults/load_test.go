package faults

import (
	"context"
	"errors"
	"sync"
	"time"

	"authsvc/internal/authsvctest"
)

const (
	// life is how often a caller refreshes a grant before it takes a new one.
	life = 20
	// crewSize is how many callers share a grant, where they do: all of them
	// refresh the same token, and none goes on before all have their answer. (One
	// that came back with an older token would be a thief, as far as anyone knows.)
	crewSize = 4
)

// load is callers who get, refresh, check and revoke tokens.
type load struct {
	callers int
	// alone gives each caller grants of its own, and lets none ask again for what
	// it was answered. Otherwise every second caller shares its grants with others.
	alone bool
	// enough ends the load. Not to come to it in loadPatience fails the test.
	enough func() bool
}

// begin starts a load, and returns what is closed when it is over. The end of the
// test ends it too.
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
			s.t.Errorf("after %v the load had not done its work: %d refreshes, %d attempts without a verdict", loadPatience, s.refreshed.Load(), s.unsure.Load())
		}
	}()
	s.t.Cleanup(func() {
		cancel()
		<-ended
	})
	return ended
}

// grant is the life of the nth grant of a crew, whose first caller has this number.
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
			s.insist(ctx, refresh, first+round+1, held.Refresh) // once more, of another process
		}
	}
}

// until waits for a condition, and tells whether it came before the end of a load.
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

// settle presents, after the faults, every access token that anyone was ever
// answered, and the newest refresh token of each grant, of those that are revoked
// too: the judge knows which must be good.
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

// They are long: what they bound is not measured.
const (
	loadPatience   = 5 * time.Minute
	settlePatience = 3 * time.Minute
)
