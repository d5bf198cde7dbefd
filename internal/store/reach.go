package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// awayAfter is how long nothing must have succeeded for a Redis to be taken
	// for away. It is longer than a restart that nobody needs to notice.
	awayAfter = 500 * time.Millisecond
	// probeEvery is how often a Redis that failed is asked whether it is back.
	probeEvery = 100 * time.Millisecond
)

// ErrReplaced tells of a Redis that was away that it is no longer needed: another
// node of the Cluster has its slots.
var ErrReplaced = errors.New("another Redis has taken its place")

// errAway is the answer to a call that was not tried.
var errAway = errors.New("Redis has not answered for a while; it is asked all the time whether it is back, and callers are not let through until then")

// reach knows whether one Redis is in reach, and is the breaker before it: calls
// are let through until nothing has succeeded for a while, and again as soon as
// Redis answers. A single success closes it, so a Redis that is only slow, or one
// lost connection with all the calls on it, does not open it; counting failures
// would. Calls are never used to find out: something of our own asks meanwhile.
//
// A new one is in reach.
type reach struct {
	// run runs a task on the side until it ends, or until its context does.
	run func(task func(context.Context))
	// probe asks Redis anything. nil means that it answered, ErrReplaced that
	// nobody waits for it any more.
	probe func(context.Context) error
	// changed is told that Redis is away, by the error that it failed with, and
	// of the end of that, by nil or ErrReplaced; and since when it was.
	changed func(err error, since time.Time)

	failing atomic.Pointer[failure] // since the last success; nil: there is none
	probing atomic.Bool
}

type failure struct {
	since time.Time
	cause error
}

// allows tells whether a call may be tried.
func (r *reach) allows() bool {
	f := r.failing.Load()
	return f == nil || time.Since(f.since) < awayAfter
}

// succeeded notes that Redis answered.
func (r *reach) succeeded() {
	if r.failing.Load() != nil { // so that the usual case only reads
		r.failing.Store(nil)
	}
}

// failed notes that Redis did not answer, and sees to it that something asks
// until it does.
func (r *reach) failed(cause error) {
	r.failing.CompareAndSwap(nil, &failure{time.Now(), cause})
	if r.probing.CompareAndSwap(false, true) {
		r.run(r.ask)
	}
}

// ask probes until Redis answers, and tells changed what becomes of it.
func (r *reach) ask(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var away *failure // as changed was told
	var end error
	for {
		f := r.failing.Load()
		if f == nil {
			if away != nil {
				if !errors.Is(end, ErrReplaced) {
					end = nil // of a probe that failed while a call succeeded
				}
				r.changed(end, away.since)
			}
			away, end = nil, nil
			r.probing.Store(false)
			if r.failing.Load() == nil || !r.probing.CompareAndSwap(false, true) {
				return
			}
			continue // it failed again meanwhile, when somebody was still asking
		}
		if away == nil && !r.allows() {
			away = f
			r.changed(f.cause, f.since)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer, cancel := context.WithTimeout(ctx, awayAfter)
		if end = r.probe(answer); end == nil || errors.Is(end, ErrReplaced) {
			r.succeeded()
		}
		cancel()
	}
}
