package redisconn

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// pingEvery is how often a Redis that failed is pinged.
const pingEvery = 100 * time.Millisecond

// breaker guards one Redis. It is closed, and lets calls through, until nothing has
// succeeded for a while; it closes again as soon as Redis answers. A single success keeps
// it closed, so a Redis that is only slow, or the loss of one connection with all its
// calls, does not open it; counting failures would. While it is open, it pings Redis
// rather than try calls.
//
// A new one is closed.
type breaker struct {
	// opensAfter is how long nothing must have succeeded for it to open, and how long a
	// ping may take.
	opensAfter time.Duration
	// run runs a task in the background until it returns or its context ends.
	run func(task func(context.Context))
	// ping makes Redis answer anything. It returns nil if Redis answers, and ErrReplaced
	// if this Redis is no longer needed.
	ping func(context.Context) error
	// changed is called when the breaker opens, with the *Error of Redis, and when it
	// closes, with nil or ErrReplaced. since is when Redis began to fail.
	changed func(err error, since time.Time)

	failing atomic.Pointer[failure] // since the last success; nil: there is none
	pinging atomic.Bool
}

// failure describes how Redis has failed since its last answer.
type failure struct {
	since   time.Time
	cause   *Error // the first, or a later one that says more
	refusal *Error // the error of calls while the breaker is open
}

func newFailure(since time.Time, cause error) *failure {
	e := &Error{reasonOf(cause), cause}
	text := cause.Error() + " (" + ErrBreakerOpen.Error() + ")"
	return &failure{since, e, &Error{e.Reason, &refusal{cause, text}}}
}

// refusal is ErrBreakerOpen with the error that opened it.
type refusal struct {
	cause error
	text  string // formatted once, not for each refused call
}

func (r *refusal) Error() string        { return r.text }
func (r *refusal) Is(target error) bool { return target == ErrBreakerOpen }
func (r *refusal) Unwrap() error        { return r.cause }

// refuses returns nil if a call may be tried, else the error to answer it with:
// ErrBreakerOpen, which wraps the error of Redis.
func (b *breaker) refuses() error {
	if f := b.failing.Load(); f != nil && time.Since(f.since) >= b.opensAfter {
		return f.refusal
	}
	return nil
}

// succeeded records that Redis answered.
func (b *breaker) succeeded() {
	if b.failing.Load() != nil { // the usual case only reads
		b.failing.Store(nil)
	}
}

// failed records that Redis did not answer, and has it pinged until it does.
func (b *breaker) failed(cause error) {
	if b.failing.Load() == nil {
		b.failing.CompareAndSwap(nil, newFailure(time.Now(), cause))
	}
	if b.pinging.CompareAndSwap(false, true) {
		b.run(b.pingUntilAnswered)
	}
}

// learns records the error of a ping if it says more than what is known: a lost
// connection is often followed by the cause of the loss, and that by timeouts. A cause
// that says what to do is not given up for one that does not: a server that refuses a
// certificate can also reset the connection before it has said so.
func (b *breaker) learns(cause error) {
	f := b.failing.Load()
	if f == nil || isTimeout(cause) || f.cause.Reason != Other && reasonOf(cause) == Other {
		return
	}
	b.failing.CompareAndSwap(f, newFailure(f.since, cause))
}

// pingUntilAnswered pings Redis until it answers, and calls changed.
func (b *breaker) pingUntilAnswered(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	var open *failure // the one that changed was called for
	var end error
	for {
		f := b.failing.Load()
		if f == nil {
			if open != nil {
				if !errors.Is(end, ErrReplaced) {
					end = nil // the ping failed, but a call succeeded
				}
				b.changed(end, open.since)
			}
			open, end = nil, nil
			b.pinging.Store(false)
			if b.failing.Load() == nil || !b.pinging.CompareAndSwap(false, true) {
				return
			}
			continue // it failed again before pinging was cleared
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
		answer, cancel := context.WithTimeout(ctx, b.opensAfter)
		if end = b.ping(answer); end == nil || errors.Is(end, ErrReplaced) {
			b.succeeded()
		} else {
			b.learns(end)
		}
		cancel()
	}
}
