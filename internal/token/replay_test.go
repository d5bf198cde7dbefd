package token

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stale is a refresh token that was used before the grace, and the newest pair of its
// grant.
type stale struct {
	token  string
	newest pair
}

func newStale(w *world) stale {
	w.t.Helper()
	first := w.issue(keyA)
	second := w.mustRefresh(first.refresh)
	time.Sleep(DefaultGrace)
	w.kinds()
	w.store.ops()
	return stale{first.refresh, second}
}

// late presents a token as a request whose caller leaves when left ends.
func (w *world) late(tok string, left context.Context) (pair, error) {
	t, _, err := w.m.refresh(w.t.Context(), w.as(keyA), Request{RefreshToken: tok, Left: left.Done()}, false)
	if err != nil {
		return pair{}, err
	}
	return pair{t.Access, t.Refresh}, nil
}

// spared checks that a replay was refused and its grant left alone, with one event.
func (w *world) spared(s stale, err error, want EventKind) {
	w.t.Helper()
	if code(err) != "2202" {
		w.t.Errorf("answered %v, want 2202", err)
	}
	if es := w.kinds(); !slices.Equal(es, []EventKind{want}) {
		w.t.Errorf("events %v, want %s", es, want)
	}
	if w.inspect(s.newest.access) != "" || w.grant(s.token) == nil {
		w.t.Error("the grant was ended")
	}
	if slices.Contains(w.store.ops(), "delete") {
		w.t.Error("a delete was sent")
	}
}

// A replay ends its grant only if its caller stays for half a second.
func TestAReplayKillsOnlyForACallerWhoStays(t *testing.T) {
	for _, leaves := range []time.Duration{0, 1, time.Millisecond, 250 * time.Millisecond, killWait - 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newTimedWorld(t)
			s := newStale(w)
			ctx, cancel := context.WithTimeout(t.Context(), leaves)
			defer cancel()
			began := time.Now()
			_, err := w.late(s.token, ctx)
			if took := time.Since(began); took != leaves {
				t.Errorf("leaves after %v: answered after %v", leaves, took)
			}
			w.spared(s, err, EventCallerLeft)
		})
	}
	for _, leaves := range []time.Duration{killWait + 1, killWait + ends - 1, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newTimedWorld(t)
			s := newStale(w)
			ctx, cancel := context.WithTimeout(t.Context(), leaves)
			defer cancel()
			time.AfterFunc(killWait-1, func() {
				if es := w.kinds(); len(es) > 0 || w.grant(s.token) == nil {
					t.Error("it was ended before the caller had stayed")
				}
			})
			began := time.Now()
			_, err := w.late(s.token, ctx)
			if took := time.Since(began); code(err) != "2202" || took != killWait+ends {
				t.Errorf("leaves after %v: %v after %v", leaves, err, took)
			}
			if es := w.kinds(); !slices.Equal(es, []EventKind{EventRefreshReplayed}) || w.grant(s.token) != nil {
				t.Errorf("leaves after %v: events %v, and the grant is %v", leaves, es, w.grant(s.token))
			}
			if ops := w.store.ops(); !slices.Equal(ops, []string{"get", "get", "delete"}) {
				t.Errorf("calls %v, want a look, another after the wait, and a delete", ops)
			}
		})
	}
}

// A process that stands still in the wait waits again, once: its caller may have left
// meanwhile, which net/http has yet to notice.
func TestTheWaitIsForNetHTTP(t *testing.T) {
	const still = time.Minute
	for _, notices := range []time.Duration{still + killWait + 1, still + 2*killWait - 1, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newTimedWorld(t)
			s := newStale(w)
			waits := 0
			w.m.cfg.Clock.SetTimer(func(d time.Duration) <-chan time.Time {
				if waits++; waits == 1 {
					d += still
				}
				return time.After(d)
			})
			ctx, cancel := context.WithTimeout(t.Context(), notices)
			defer cancel()
			_, err := w.late(s.token, ctx)
			if notices < time.Hour {
				w.spared(s, err, EventCallerLeft)
			} else if es := w.kinds(); !slices.Equal(es, []EventKind{EventRefreshReplayed}) {
				t.Errorf("events %v of a caller who stays", es)
			}
		})
	}
}

// leaving is a store in which the caller leaves during a read.
type leaving struct {
	Store
	on    int // which read
	leave func()
}

func (l *leaving) Get(ctx context.Context, id GrantID) ([]byte, error) {
	if l.on--; l.on == 0 {
		l.leave()
	}
	return l.Store.Get(ctx, id)
}

// A caller who leaves while the grant is read is gone, too.
func TestACallerMayLeaveUntilTheDelete(t *testing.T) {
	for read := 1; read <= 2; read++ {
		synctest.Test(t, func(t *testing.T) {
			w := newTimedWorld(t)
			s := newStale(w)
			ctx, cancel := context.WithCancel(t.Context())
			w.m.cfg.Store = &leaving{w.store, read, cancel}
			_, err := w.late(s.token, ctx)
			w.m.cfg.Store = w.store
			w.spared(s, err, EventCallerLeft)
		})
	}
}

// What the grant is after the wait decides, and only what was read then is deleted.
func TestAReplayIsDecidedAgain(t *testing.T) {
	atWait, beforeDelete := killWait/2, time.Duration(0)
	for name, c := range map[string]struct {
		when   time.Duration // in the wait, or between the second look and the delete
		change func(*world, stale)
		code   string
		events []EventKind
		gone   bool
		waits  time.Duration
	}{
		"it is refreshed in the wait": {
			atWait, func(w *world, s stale) { w.mustRefresh(s.newest.refresh); w.kinds() },
			"2202",
			[]EventKind{EventRefreshReplayed},
			true, killWait + ends,
		},
		"it is refreshed before the delete": {
			beforeDelete, func(w *world, s stale) { w.mustRefresh(s.newest.refresh); w.kinds() },
			"2202",
			[]EventKind{EventRefreshReplayed},
			true, killWait + ends,
		},
		"it is revoked in the wait": {
			atWait, func(w *world, s stale) { w.store.restore(w.claims(s.token).Grant, record{}) },
			"2202", nil, true, killWait + ends,
		},
		"it is revoked before the delete": { // a repeat of a delete whose reply was lost looks the same
			beforeDelete, func(w *world, s stale) { w.store.restore(w.claims(s.token).Grant, record{}) },
			"2202",
			[]EventKind{EventRefreshReplayed},
			true, killWait + ends,
		},
		"the store loses the rotation in the wait": {
			atWait, func(w *world, s stale) { w.store.restore(w.claims(s.token).Grant, w.first(s)) },
			"",
			[]EventKind{EventRefreshed},
			false, killWait,
		},
		"the store loses the rotation before the delete": {
			beforeDelete, func(w *world, s stale) { w.store.restore(w.claims(s.token).Grant, w.first(s)) },
			"",
			[]EventKind{EventRefreshed},
			false, killWait,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTimedWorld(t)
				s := newStale(w)
				change := func() { c.change(w, s) }
				if c.when == 0 {
					w.store.onDelete = change
				} else {
					time.AfterFunc(c.when, change)
				}
				began := time.Now()
				_, err := w.refresh(keyA, s.token, "", "")
				if took := time.Since(began); code(err) != c.code || took != c.waits {
					t.Errorf("%v after %v; want %q after %v", err, took, c.code, c.waits)
				}
				if es := w.kinds(); !slices.Equal(es, c.events) || (w.grant(s.token) == nil) != c.gone {
					t.Errorf("events %v, and the grant is %v", es, w.grant(s.token))
				}
			})
		})
	}
}

// first is the first record of a grant.
func (w *world) first(s stale) record {
	return record{w.store.first[w.claims(s.token).Grant], time.Now().Add(time.Hour)}
}

// A record that changes again and again is never deleted unread, and the attempts end with
// the time that the store has.
func TestADeleteOfWhatChangesAllTheTimeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTimedWorld(t)
		w.m.cfg.StoreTimeout = 300 * time.Millisecond
		s := newStale(w)
		newest := s.newest
		var again func()
		again = func() {
			time.Sleep(10 * time.Millisecond)
			newest = w.mustRefresh(newest.refresh)
			w.store.onDelete = again
		}
		w.store.onDelete = again
		began := time.Now()
		_, err := w.refresh(keyA, s.token, "", "")
		outOfReach(t, "replay", err, time.Second, 5*time.Second)
		// Up to the delete that was under way when its time was up.
		if took := time.Since(began) - killWait - w.m.cfg.StoreTimeout; took < 0 || took > 10*time.Millisecond {
			t.Errorf("ended %v after its time", took)
		}
		if w.inspect(newest.access) != "" {
			t.Error("a refresh was lost in a delete")
		}
	})
}

// hangs is a store whose deletes, or reads, hang until their context ends.
type hangs struct {
	Store
	inGet bool
	after int // reads that do not hang
}

func (h *hangs) Get(ctx context.Context, id GrantID) ([]byte, error) {
	if h.after--; h.inGet && h.after < 0 {
		<-ctx.Done()
		return nil, errors.Join(ErrUnavailable, ctx.Err())
	}
	return h.Store.Get(ctx, id)
}

func (h *hangs) Delete(ctx context.Context, _ GrantID, _ []byte) error {
	<-ctx.Done()
	return errors.Join(ErrUnavailable, ctx.Err())
}

// The wait is not taken off the time that a request has for the store, and what comes after
// it has a deadline of its own.
func TestAKillHasADeadlineOfItsOwn(t *testing.T) {
	const patience = 300 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		w := newTimedWorld(t)
		w.m.cfg.StoreTimeout = patience
		s := newStale(w)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began := time.Now()
		_, _, err := w.m.Refresh(ctx, w.as(keyA), s.token, "", "")
		if took := time.Since(began); code(err) != "2202" || took != killWait+ends || w.grant(s.token) != nil {
			t.Errorf("%v after %v", err, took)
		}
	})
	for _, inGet := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newTimedWorld(t)
			w.m.cfg.StoreTimeout = patience
			s := newStale(w)
			w.m.cfg.Store = &hangs{w.store, inGet, 1}
			began := time.Now()
			_, err := w.refresh(keyA, s.token, "", "")
			outOfReach(t, "replay", err, time.Second, 5*time.Second)
			if took := time.Since(began); took != killWait+patience || len(w.kinds()) > 0 || w.grant(s.token) == nil {
				t.Errorf("answered after %v", took)
			}
		})
	}
}

// A process that stops does not wait, and kills nobody.
func TestADrainEndsTheWait(t *testing.T) {
	for _, begins := range []time.Duration{-1, 0, 100 * time.Millisecond, killWait - 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newTimedWorld(t)
			draining := make(chan struct{})
			w.m.cfg.Draining = draining
			s := newStale(w)
			if begins < 0 {
				close(draining)
			} else {
				time.AfterFunc(begins, func() { close(draining) })
			}
			began := time.Now()
			_, err := w.refresh(keyA, s.token, "", "")
			if took := time.Since(began); took != max(0, begins) {
				t.Errorf("drains after %v: answered after %v", begins, took)
			}
			w.spared(s, err, EventReplaySpared)
		})
	}
}

// Only so many replays wait at a time, and what is beyond that is refused at once and kills
// nobody. Whoever has waited makes room.
func TestOnlySoManyReplaysWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTimedWorld(t)
		s, other := newStale(w), newStale(w)
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var left atomic.Int64
		for range maxKillWaits {
			all.Go(func() {
				if _, err := w.late(s.token, ctx); code(err) == "2202" {
					left.Add(1)
				}
			})
		}
		synctest.Wait() // all of them wait
		began := time.Now()
		_, err := w.refresh(keyA, other.token, "", "")
		if took := time.Since(began); took != 0 {
			t.Errorf("one too many was answered after %v", took)
		}
		w.spared(other, err, EventReplaySpared)
		leave()
		all.Wait()
		if n := left.Load(); n != maxKillWaits || w.grant(s.token) == nil {
			t.Errorf("%d of %d were refused, and the grant is %v", n, maxKillWaits, w.grant(s.token))
		}
		w.kinds()
		if _, err := w.refresh(keyA, other.token, "", ""); code(err) != "2202" || w.grant(other.token) != nil {
			t.Errorf("with room again: %v, and the grant is %v", err, w.grant(other.token))
		}
	})
}

// What is no replay is answered whoever waits for it: it may have been done already.
func TestOnlyAReplayCaresWhetherItsCallerIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTimedWorld(t)
		gone, leave := context.WithCancel(t.Context())
		leave()
		p := w.issue(keyA)
		next, err := w.late(p.refresh, gone)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := w.late(p.refresh, gone); again != next {
			t.Errorf("its repeat gets %v, %v", again, err)
		}
		if es := w.kinds(); !slices.Equal(es, []EventKind{EventIssued, EventRefreshed, EventRefreshRepeated}) {
			t.Errorf("events %v", es)
		}
	})
}

// A replay whose grant ends meanwhile, or that twenty callers send at once, ends it once.
func TestRacingReplaysEndOneGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTimedWorld(t)
		s := newStale(w)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := w.refresh(keyA, s.token, "", ""); code(err) != "2202" {
					t.Errorf("%v, want 2202", err)
				}
			})
		}
		all.Wait()
		if es := w.kinds(); len(es) == 0 || w.grant(s.token) != nil || slices.ContainsFunc(es, func(k EventKind) bool { return k != EventRefreshReplayed }) {
			t.Errorf("events %v, and the grant is %v", es, w.grant(s.token))
		}
	})
}
