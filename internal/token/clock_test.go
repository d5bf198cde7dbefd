package token

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// clockStore is a store of which only the clock is asked.
type clockStore struct {
	Store
	now func(context.Context) (time.Time, error)
}

func (s clockStore) Now(ctx context.Context) (time.Time, error) { return s.now(ctx) }

func TestAClockIsUnknownUntilItIsMeasured(t *testing.T) {
	c := NewClock(newHand().Now)
	if _, err := c.Now(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
	if _, known := c.Offset(); known {
		t.Error("the offset is known")
	}
	err := c.Measure(t.Context(), clockStore{now: func(context.Context) (time.Time, error) { return epoch, lost("now") }})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("measuring: %v, want ErrUnavailable", err)
	}
	if _, err := c.Now(); err == nil {
		t.Error("a failed measurement made the clock known")
	}
}

func TestAClockTellsTheStoresTime(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Millisecond, 5 * time.Hour, -5 * time.Hour, 20 * 365 * 24 * time.Hour} {
		process, store := newHand(), newHand()
		store.Advance(ahead)
		c := NewClock(process.Now)
		ask := clockStore{now: func(context.Context) (time.Time, error) { return store.Now(), nil }}
		if err := c.Measure(t.Context(), ask); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if now, err := c.Now(); err != nil || !now.Equal(store.Now()) {
				t.Errorf("%v ahead: %v, %v; the store's time is %v", ahead, now, err, store.Now())
			}
			if off, known := c.Offset(); !known || off != ahead {
				t.Errorf("offset %v, %v; want %v", off, known, ahead)
			}
			process.Advance(7 * time.Second)
			store.Advance(7 * time.Second)
		}
	}
}

func TestHalfTheRoundTripIsTakenOff(t *testing.T) {
	process := newHand()
	c := NewClock(process.Now)
	err := c.Measure(t.Context(), clockStore{now: func(context.Context) (time.Time, error) {
		process.Advance(40 * time.Millisecond) // there
		now := process.Now().Add(time.Hour)
		process.Advance(40 * time.Millisecond) // and back
		return now, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if off, _ := c.Offset(); off != time.Hour {
		t.Errorf("offset %v, want 1h", off)
	}
}

// A new connection takes round trips of its own before the time is read, and none after
// it. On one that exists, the time is right to half a round trip, and here exactly.
func TestTheMakingOfAConnectionIsNotTakenForTheRoundTrip(t *testing.T) {
	for name, asked := range map[string][]time.Duration{ // until the time is read, besides its own way
		"the first makes one":     {400 * time.Millisecond, 0},
		"the second, as it turns": {0, 400 * time.Millisecond},
	} {
		process := newHand()
		c := NewClock(process.Now)
		n := 0
		if err := c.Measure(t.Context(), clockStore{now: func(context.Context) (time.Time, error) {
			process.Advance(asked[n] + 40*time.Millisecond)
			now := process.Now().Add(time.Hour)
			process.Advance(40 * time.Millisecond)
			n++
			return now, nil
		}}); err != nil {
			t.Fatal(err)
		}
		if off, _ := c.Offset(); off != time.Hour {
			t.Errorf("%s: offset %v, want 1h", name, off)
		}
	}
}

func TestAClockSurvivesAFailedMeasurement(t *testing.T) {
	process := newHand()
	c := NewClock(process.Now)
	var fails error
	ask := clockStore{now: func(context.Context) (time.Time, error) { return process.Now().Add(time.Hour), fails }}
	if err := c.Measure(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	fails = lost("now")
	process.Advance(time.Minute)
	if err := c.Measure(t.Context(), ask); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if now, err := c.Now(); err != nil || !now.Equal(process.Now().Add(time.Hour)) {
		t.Errorf("%v, %v; want the last offset to hold", now, err)
	}
}

// A step of the process clock (one without a monotonic reading) lasts until the
// next measurement; the store's time is never asked of the process.
func TestASteppedProcessClockIsMeasuredAgain(t *testing.T) {
	process, store := newHand(), newHand()
	c := NewClock(process.Now)
	ask := clockStore{now: func(context.Context) (time.Time, error) { return store.Now(), nil }}
	for _, step := range []time.Duration{0, time.Hour, -3 * time.Hour} {
		process.Advance(step)
		if err := c.Measure(t.Context(), ask); err != nil {
			t.Fatal(err)
		}
		if now, _ := c.Now(); !now.Equal(store.Now()) {
			t.Errorf("after a step of %v: %v, want %v", step, now, store.Now())
		}
	}
}

func TestRunMeasuresEveryTenSecondsAndMoreOftenAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var gaps []time.Duration
		var deadlines []time.Duration
		last := time.Now()
		again := false
		s := clockStore{now: func(ctx context.Context) (time.Time, error) {
			now := time.Now()
			if again { // a measurement that succeeds reads the time twice
				again = false
				return now.Add(time.Hour), nil
			}
			gaps = append(gaps, now.Sub(last))
			last = now
			end, _ := ctx.Deadline()
			deadlines = append(deadlines, end.Sub(now))
			switch len(gaps) {
			case 1, 2, 3, 6: // the store is unavailable; the sixth time the clock is known
				return time.Time{}, lost("now")
			case 8:
				cancel()
			}
			again = true
			return now.Add(time.Hour), nil
		}}
		c := NewClock(time.Now)
		var told []bool
		c.Run(ctx, s, 100*time.Millisecond, func(err error) { told = append(told, err == nil) })

		const soon, later = 250 * time.Millisecond, 10 * time.Second
		if want := []time.Duration{0, soon, soon, soon, later, later, soon, later}; !slices.Equal(gaps, want) {
			t.Errorf("measured after %v, want %v", gaps, want)
		}
		if want := []bool{false, true, false, true}; !slices.Equal(told, want) {
			t.Errorf("told of %v, want %v", told, want)
		}
		for _, d := range deadlines {
			if d != 100*time.Millisecond {
				t.Errorf("a measurement has %v, want 100ms", d)
			}
		}
		if off, known := c.Offset(); !known || off != time.Hour {
			t.Errorf("offset %v, %v", off, known)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	asked, done := make(chan struct{}), make(chan struct{})
	tell := sync.OnceFunc(func() { close(asked) })
	go func() {
		defer close(done)
		NewClock(time.Now).Run(ctx, clockStore{now: func(context.Context) (time.Time, error) {
			tell()
			return time.Now(), nil
		}}, time.Second, nil)
	}()
	<-asked
	cancel()
	<-done
}

// Two processes with wrong clocks agree on what has expired, and when.
func TestWrongProcessClocksAgreeOnExpiry(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	var ms []*Manager
	for _, wrong := range []time.Duration{-48 * time.Hour, -time.Second, 0, time.Second, 48 * time.Hour} {
		c := NewClock(func() time.Time { return w.clock.Now().Add(wrong) })
		if err := c.Measure(t.Context(), w.store); err != nil {
			t.Fatal(err)
		}
		ms = append(ms, w.manager(c))
	}
	expiry := time.Unix(w.claims(p.access).ExpiresAt, 0)
	for _, tt := range []struct {
		at   time.Time
		want string
	}{{expiry.Add(-time.Nanosecond), ""}, {expiry, "1002"}} {
		w.clock.Advance(tt.at.Sub(w.clock.Now()))
		for i, m := range ms {
			w.m = m
			if got := w.inspect(p.access); got != tt.want {
				t.Errorf("process %d at %v: %q, want %q", i, tt.at, got, tt.want)
			}
		}
	}
}
