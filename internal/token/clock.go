package token

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Clock tells the store's time, so that replicas whose own clocks are wrong agree on what
// has expired. It is safe for concurrent use.
//
// It measures the store's time periodically and adds the time elapsed on the process
// clock, whose monotonic reading is not affected by a step of the wall clock.
type Clock struct {
	process func() time.Time
	after   func(time.Duration) <-chan time.Time
	sample  atomic.Pointer[clockSample]
}

type clockSample struct{ process, store time.Time }

// The times between two measurements: after a successful one, and after a failed one.
const (
	clockInterval = 10 * time.Second
	clockRetry    = 250 * time.Millisecond
)

// NewClock returns a clock that has not been measured yet. process is the process clock:
// time.Now, outside tests.
func NewClock(process func() time.Time) *Clock { return &Clock{process: process, after: time.After} }

// SetTimer replaces time.After, for a process clock that tests advance. It must be called
// before the clock is used.
func (c *Clock) SetTimer(after func(time.Duration) <-chan time.Time) { c.after = after }

// Measure reads the store's time, and assumes that it was read half a round trip ago. It
// does so twice and keeps the shorter: the first can include the making of a connection,
// which takes several round trips before the time is read and none after it. If either
// fails, the last measurement stays in use.
func (c *Clock) Measure(ctx context.Context, s Store) error {
	var best *clockSample
	var shortest time.Duration
	for range 2 {
		before := c.process()
		now, err := s.Now(ctx)
		if err != nil {
			return fmt.Errorf("measuring the store's clock: %w", err)
		}
		if took := c.process().Sub(before); best == nil || took < shortest {
			best, shortest = &clockSample{process: before.Add(took / 2), store: now}, took
		}
	}
	c.sample.Store(best)
	return nil
}

// Now returns the store's time, or ErrUnavailable if it has never been measured.
func (c *Clock) Now() (time.Time, error) { return c.At(c.process()) }

// At returns the store's time at a time of the process clock, as far as is known now, or
// ErrUnavailable.
func (c *Clock) At(process time.Time) (time.Time, error) {
	s := c.sample.Load()
	if s == nil {
		return time.Time{}, fmt.Errorf("%w: its clock is not known yet", ErrUnavailable)
	}
	return s.store.Add(process.Sub(s.process)), nil
}

// Process returns the time of the process clock.
func (c *Clock) Process() time.Time { return c.process() }

// Offset returns how far the store's clock is ahead of the process clock, and whether
// that is known.
func (c *Clock) Offset() (time.Duration, bool) {
	now, err := c.Now()
	if err != nil {
		return 0, false
	}
	return now.Round(0).Sub(c.process().Round(0)), true
}

// Run measures at once, then every 10 s, and more often while the store does not answer,
// until ctx ends. Each measurement takes at most timeout. changed, which may be nil, is
// called with the result of the first measurement, and whenever they begin to fail or to
// succeed.
func (c *Clock) Run(ctx context.Context, s Store, timeout time.Duration, changed func(error)) {
	for first, failed := true, false; ; first = false {
		m, cancel := context.WithTimeout(ctx, timeout)
		err := c.Measure(m, s)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if now := err != nil; changed != nil && (first || now != failed) {
			changed(err)
		}
		failed = err != nil
		wait := clockInterval
		if failed {
			wait = clockRetry
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}
