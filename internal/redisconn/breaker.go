package redisconn

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// opensAfter is how long nothing must have succeeded for a breaker to open. It
	// is longer than a restart that nobody needs to notice.
	opensAfter = 500 * time.Millisecond
	// pingEvery is how often a Redis that failed is pinged.
	pingEvery = 100 * time.Millisecond
)

// breaker stands before one Redis. It is closed, and lets calls through, until
// nothing has succeeded for a while; it closes again as soon as Redis answers. A
// single success keeps it closed, so a Redis that is only slow, or one lost
// connection with all the calls on it, does not open it; counting failures would.
// Calls are never used to find out: it pings Redis meanwhile.
//
// A new one is closed.
type breaker struct {
	// run runs a task on the side until it ends, or until its context does.
	run func(task func(context.Context))
	// ping makes Redis answer anything. nil means that it did, ErrReplaced that
	// nobody waits for it any more.
	ping func(context.Context) error
	// changed is told that the breaker has opened, with the error that Redis
	// failed with, and that it has closed, with nil or ErrReplaced; and since when
	// Redis failed.
	changed func(err error, since time.Time)

	failing atomic.Pointer[failure] // since the last success; nil: there is none
	pinging atomic.Bool
}

// failure is that Redis has failed since its last answer.
type failure struct {
	since   time.Time
	cause   error  // the first, or a later one that says more
	refusal *Error // of the calls that are not tried meanwhile
}

func newFailure(since time.Time, cause error) *failure {
	text := cause.Error() + " (" + ErrBreakerOpen.Error() + ")"
	return &failure{since, cause, &Error{reasonOf(cause), &refusal{cause, text}}}
}

// refusal is ErrBreakerOpen with the error that opened it.
type refusal struct {
	cause error
	text  string // made once, and not by each call that is refused
}

func (r *refusal) Error() string        { return r.text }
func (r *refusal) Is(target error) bool { return target == ErrBreakerOpen }
func (r *refusal) Unwrap() error        { return r.cause }

// refuses returns nil if a call may be tried, and else the error to answer it with:
// ErrBreakerOpen, which wraps what Redis fails with.
func (b *breaker) refuses() error {
	if f := b.failing.Load(); f != nil && time.Since(f.since) >= opensAfter {
		return f.refusal
	}
	return nil
}

// succeeded notes that Redis answered.
func (b *breaker) succeeded() {
	if b.failing.Load() != nil { // so that the usual case only reads
		b.failing.Store(nil)
	}
}

// failed notes that Redis did not answer, and sees to it that it is pinged until it
// does.
func (b *breaker) failed(cause error) {
	if b.failing.Load() == nil {
		b.failing.CompareAndSwap(nil, newFailure(time.Now(), cause))
	}
	if b.pinging.CompareAndSwap(false, true) {
		b.run(b.pingUntilAnswered)
	}
}

// learns notes what a ping failed with, unless it only took too long: a lost connection
// is often followed by the cause of the loss, and that often by timeouts.
func (b *breaker) learns(cause error) {
	if f := b.failing.Load(); f != nil && !isTimeout(cause) {
		b.failing.CompareAndSwap(f, newFailure(f.since, cause))
	}
}

// pingUntilAnswered pings until Redis answers, and tells changed what becomes of it.
func (b *breaker) pingUntilAnswered(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	var open *failure // as changed was told
	var end error
	for {
		f := b.failing.Load()
		if f == nil {
			if open != nil {
				if !errors.Is(end, ErrReplaced) {
					end = nil // of a ping that failed while a call succeeded
				}
				b.changed(end, open.since)
			}
			open, end = nil, nil
			b.pinging.Store(false)
			if b.failing.Load() == nil || !b.pinging.CompareAndSwap(false, true) {
				return
			}
			continue // it failed again meanwhile, when somebody was still pinging
		}
		if open == nil && b.refuses() != nil {
			open = f
			b.changed(f.cause, f.since)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer, cancel := context.WithTimeout(ctx, opensAfter)
		if end = b.ping(answer); end == nil || errors.Is(end, ErrReplaced) {
			b.succeeded()
		} else {
			b.learns(end)
		}
		cancel()
	}
}
