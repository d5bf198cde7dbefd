package memory

import (
	"context"
	"slices"
	"time"

	"authsvc/internal/token"
)

const (
	// beat is how often a process notes that it runs.
	beat = time.Second
	// firstBeat is how soon it looks again whether the clock is known.
	firstBeat = 10 * time.Millisecond
	// maxStill is how many times at which it stood still are remembered.
	maxStill = 64
)

// Monitor notes, until ctx ends, that this process runs. While it stands still nobody is
// answered, as if the store were away. It is called once.
func (m *Store) Monitor(ctx context.Context, clock *token.Clock) {
	for {
		wait := firstBeat
		if now, err := clock.Now(); err == nil {
			m.runs(now.UnixMilli())
			wait = beat
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

// runs notes that this process runs at a time, in unix milliseconds.
func (m *Store) runs(now int64) {
	o := m.Outages(token.GrantID{})
	if o.Until != 0 && now-o.Until > token.MaxSilence.Milliseconds() {
		was := o.Away[max(0, len(o.Away)-maxStill+1):]
		o.Away = slices.Concat(was, []token.Away{{From: o.Until, To: now}})
	}
	o.Until = now
	m.outages.Store(&o)
}

// Outages returns when this process stood still, as far as Monitor knows.
func (m *Store) Outages(token.GrantID) token.Outages {
	if o := m.outages.Load(); o != nil {
		return *o
	}
	return token.Outages{}
}
