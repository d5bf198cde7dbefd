package faults

import (
	"sync"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// races is a scenario in which callers of three processes want the same at the same
// time. Redis is healthy, so the processes have enough time to decide each race.
type races struct {
	*service
	late time.Duration
}

func newRaces(t *testing.T, binary string) races {
	t.Helper()
	r := redistest.Start(t)
	return races{
		serve(t, binary, []string{r.URL(), r.URL(), r.URL()}, "--refresh-grace", "10m", "--store-timeout", "2s"),
		3*time.Second + defaultLate,
	}
}

// refreshes lets 20 callers of each process refresh the same token, for a number of
// tokens.
func (r races) refreshes(tokens int) verdict {
	const racers = 20
	var a attempt
	for n := range tokens {
		if n%life == 0 || a.outcome != done {
			a = r.insist(r.t.Context(), issue, n, "")
		}
		wishes := make([]wish, racers*len(r.servers))
		for i := range wishes {
			wishes[i] = wish{refresh, a.pair.Refresh}
		}
		a = r.together(r.t.Context(), n, wishes...)[0]
	}
	r.settle()
	return r.judge(rules{late: r.late})
}

// revocations lets a refresh race with a revocation, of the refresh token and of the
// access token, for a number of pairs each. Then it presents all remaining tokens.
func (r races) revocations(pairs int) verdict {
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for n := w; n < 2*pairs; n += 8 {
				ctx := r.t.Context()
				held := r.insist(ctx, issue, n, "").pair
				ended := held.Refresh
				if n%2 == 0 {
					ended = held.Access
				}
				next := r.together(ctx, n, wish{refresh, held.Refresh}, wish{revoke, ended})[0].pair
				r.insist(ctx, check, n, held.Access)
				if next.Access != "" {
					r.insist(ctx, check, n+1, next.Access)
					r.insist(ctx, refresh, n+2, next.Refresh)
				}
				r.insist(ctx, refresh, n, held.Refresh)
			}
		})
	}
	workers.Wait()
	r.settle()
	return r.judge(rules{late: r.late})
}

// Three processes race for the successor of a token: there is one, and everybody
// gets it.
func TestRacers(t *testing.T) {
	tokens := size(30, 1000)
	r := newRaces(t, authsvctest.Binary(t))
	began := time.Now()
	r.refreshes(tokens).acquit(t)
	figure(t, "%d tokens, 60 racers each on 3 processes: %d refreshes answered in %.1f s", tokens, r.refreshed.Load(), time.Since(began).Seconds())
	if r.refreshed.Load() < int64(60*tokens) {
		t.Errorf("%d refreshes were done, want at least %d", r.refreshed.Load(), 60*tokens)
	}
	control(t, "none, but two pairs never look the same", func(t *testing.T) {
		newRaces(t, authsvctest.BuildPatched(t, authsvctest.PairsDiffer)).refreshes(100).acquit(t)
	})
	control(t, "a swap does not look what it replaces", func(t *testing.T) {
		binary := authsvctest.BuildPatched(t, authsvctest.PairsDiffer, authsvctest.SwapIsBlind)
		convict(t, doubleSpent, func() verdict { return newRaces(t, binary).refreshes(100) })
	})
	control(t, "a retry is taken for a replay", func(t *testing.T) {
		binary := authsvctest.BuildPatched(t, authsvctest.RetryIsReplay)
		convict(t, lost, func() verdict { return newRaces(t, binary).refreshes(100) })
	})
}

// A refresh races with a revocation: whichever is first, no token is valid once the
// revocation was acknowledged.
func TestRefreshAgainstRevocation(t *testing.T) {
	pairs := size(50, 1000)
	r := newRaces(t, authsvctest.Binary(t))
	began := time.Now()
	r.revocations(pairs).acquit(t)
	figure(t, "%d pairs of a refresh and a revocation of its grant, %d of one of its access token, in %.1f s", pairs, pairs, time.Since(began).Seconds())
	control(t, "a swap does not look what it replaces", func(t *testing.T) {
		binary := authsvctest.BuildPatched(t, authsvctest.SwapIsBlind)
		convict(t, revived, func() verdict { return newRaces(t, binary).revocations(pairs) })
	})
}
