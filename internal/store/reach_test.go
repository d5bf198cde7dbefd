package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// told is what a reach told of.
type told struct {
	err   error
	after time.Duration // of the failure
}

// world is a reach of a Redis that answers when it is told to.
type world struct {
	reach
	tasks   sync.WaitGroup
	answers atomic.Bool
	probes  atomic.Int32
	told    []told // to be read when nothing runs
}

var errDown = errors.New("connection refused")

func newWorld(life context.Context) *world {
	w := &world{}
	w.run = func(task func(context.Context)) { w.tasks.Go(func() { task(life) }) }
	w.probe = func(context.Context) error {
		w.probes.Add(1)
		if w.answers.Load() {
			return nil
		}
		return errDown
	}
	w.changed = func(err error, since time.Time) { w.told = append(w.told, told{err, time.Since(since)}) }
	return w
}

func (w *world) wantTold(t *testing.T, want ...told) {
	t.Helper()
	synctest.Wait()
	if len(w.told) != len(want) {
		t.Fatalf("told %v, want %v", w.told, want)
	}
	for i := range want {
		if w.told[i] != want[i] {
			t.Errorf("told %v, want %v", w.told[i], want[i])
		}
	}
}

func TestReach(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *world){
		"a success in between keeps it open": func(t *testing.T, w *world) {
			for range 100 { // as many failures, for as long, but never without a success
				w.failed(errDown)
				time.Sleep(awayAfter / 2)
				if !w.allows() {
					t.Fatal("a call is refused")
				}
				w.succeeded()
			}
			time.Sleep(probeEvery)
			w.wantTold(t)
		},
		"nothing but failures closes it, an answer opens it": func(t *testing.T, w *world) {
			w.failed(errDown)
			for elapsed := time.Duration(0); elapsed < awayAfter; elapsed += awayAfter / 10 {
				if !w.allows() {
					t.Fatalf("a call is refused after %v", elapsed)
				}
				time.Sleep(awayAfter / 10)
				w.failed(errDown)
			}
			if w.allows() {
				t.Error("a call is let through")
			}
			w.wantTold(t, told{errDown, awayAfter})
			time.Sleep(time.Hour - awayAfter + probeEvery/2)
			if w.allows() {
				t.Error("a call is let through after an hour")
			}
			if n, want := w.probes.Load(), int32(time.Hour/probeEvery); n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
			w.answers.Store(true)
			time.Sleep(probeEvery)
			if !w.allows() {
				t.Error("a call is refused though Redis answers")
			}
			w.wantTold(t, told{errDown, awayAfter}, told{nil, time.Hour + probeEvery})
			probes := w.probes.Load()
			time.Sleep(time.Hour)
			if w.probes.Load() != probes {
				t.Error("it goes on asking")
			}
		},
		"a single failure long ago refuses nobody": func(t *testing.T, w *world) {
			w.answers.Store(true)
			w.failed(errDown)
			time.Sleep(awayAfter * 10)
			if n := w.probes.Load(); !w.allows() || n != 1 {
				t.Errorf("allows %v after %d questions", w.allows(), n)
			}
			w.wantTold(t)
		},
		"it fails again and again": func(t *testing.T, w *world) {
			var want []told
			for range 3 {
				w.answers.Store(false)
				w.failed(errDown)
				time.Sleep(awayAfter + probeEvery/2)
				if w.allows() {
					t.Error("a call is let through")
				}
				w.answers.Store(true)
				time.Sleep(probeEvery)
				want = append(want, told{errDown, awayAfter}, told{nil, awayAfter + probeEvery})
			}
			w.wantTold(t, want...)
		},
		"a call that succeeds while a probe fails ends it": func(t *testing.T, w *world) {
			ask := w.probe
			w.probe = func(ctx context.Context) error {
				if w.probes.Load() == 10 {
					w.succeeded()
				}
				return ask(ctx)
			}
			w.failed(errDown)
			time.Sleep(20 * probeEvery)
			w.wantTold(t, told{errDown, awayAfter}, told{nil, 11 * probeEvery})
		},
		"a failure while it is told of the end is not lost": func(t *testing.T, w *world) {
			again := w.changed
			w.changed = func(err error, since time.Time) {
				again(err, since)
				if err == nil && len(w.told) == 2 {
					w.answers.Store(false)
					w.failed(errDown) // by a call, when the task that asks is about to end
				}
			}
			w.failed(errDown)
			time.Sleep(awayAfter + probeEvery/2)
			w.answers.Store(true)
			time.Sleep(2 * awayAfter)
			if w.allows() {
				t.Error("a call is let through")
			}
			w.answers.Store(true)
			time.Sleep(probeEvery)
			if !w.allows() {
				t.Error("nobody asks any more")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newWorld(t.Context())) })
		})
	}
}

func TestReachEndsWithItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		w := newWorld(life)
		w.failed(errDown)
		time.Sleep(time.Minute)
		end()
		w.tasks.Wait()
	})
}
