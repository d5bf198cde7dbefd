package token

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Clock knows the store's time, so that replicas whose own clocks are wrong agree
// on what has expired. It is safe for concurrent use.
//
// It measures the store's time now and then and counts on from there with the
// process clock, whose monotonic reading also survives a step of the wall clock.
type Clock struct {
	process func() time.Time
	sample  atomic.Pointer[clockSample]
}

type clockSample struct{ process, store time.Time }

// The times between two measurements: after one that succeeded, and after one
// that did not.
const (
	clockInterval = 10 * time.Second
	clockRetry    = 250 * time.Millisecond
)

// NewClock returns a clock that counts with process (time.Now, outside tests)
// and knows nothing yet.
func NewClock(process func() time.Time) *Clock { return &Clock{process: process} }

// Measure reads the store's time; half the round trip is taken off. When it fails
// the last measurement stays.
func (c *Clock) Measure(ctx context.Context, s Store) error {
	before := c.process()
	now, err := s.Now(ctx)
	if err != nil {
		return fmt.Errorf("measuring the store's clock: %w", err)
	}
	half := c.process().Sub(before) / 2
	c.sample.Store(&clockSample{process: before.Add(half), store: now})
	return nil
}

// Now returns the store's time, or ErrUnavailable while it was never measured.
func (c *Clock) Now() (time.Time, error) {
	s := c.sample.Load()
	if s == nil {
		return time.Time{}, fmt.Errorf("%w: its clock is not known yet", ErrUnavailable)
	}
	return s.store.Add(c.process().Sub(s.process)), nil
}

// Offset returns how far the store's clock is ahead of the process clock, and whether
// that is known.
func (c *Clock) Offset() (time.Duration, bool) {
	now, err := c.Now()
	if err != nil {
		return 0, false
	}
	return now.Round(0).Sub(c.process().Round(0)), true
}

// Run measures at once, then every 10 s, and more often while the store does not
// answer. Each measurement takes at most timeout. changed, which may be nil, is
// called with the result of the first, and of each whose success differs from the one
// before. It returns when ctx ends.
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
