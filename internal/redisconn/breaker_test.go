package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// told is what a breaker told of.
type told struct {
	err   error
	after time.Duration // of the failure
}

// world is a breaker before a Redis that answers when it is told to.
type world struct {
	breaker
	tasks   sync.WaitGroup
	answers atomic.Bool
	pings   atomic.Int32
	told    []told // to be read when nothing runs
}

var errDown = errors.New("connection refused")

const opensAfter = 500 * time.Millisecond // of the breakers of these tests

func newWorld(life context.Context) *world {
	w := &world{}
	w.opensAfter = opensAfter
	w.run = func(task func(context.Context)) { w.tasks.Go(func() { task(life) }) }
	w.ping = func(context.Context) error {
		w.pings.Add(1)
		if w.answers.Load() {
			return nil
		}
		return errDown
	}
	w.changed = func(err error, since time.Time) {
		if e := (*Error)(nil); errors.As(err, &e) { // with its Reason, for whoever says what to do
			err = e.Err
		}
		w.told = append(w.told, told{err, time.Since(since)})
	}
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

func TestBreaker(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *world){
		"a success in between keeps it closed": func(t *testing.T, w *world) {
			for range 100 { // as many failures, for as long, but never without a success
				w.failed(errDown)
				time.Sleep(opensAfter / 2)
				if w.refuses() != nil {
					t.Fatal("a call is refused")
				}
				w.succeeded()
			}
			time.Sleep(pingEvery)
			w.wantTold(t)
		},
		"nothing but failures opens it, an answer closes it": func(t *testing.T, w *world) {
			w.failed(errDown)
			for elapsed := time.Duration(0); elapsed < opensAfter; elapsed += opensAfter / 10 {
				if w.refuses() != nil {
					t.Fatalf("a call is refused after %v", elapsed)
				}
				time.Sleep(opensAfter / 10)
				w.failed(errDown)
			}
			if w.refuses() == nil {
				t.Error("a call is let through")
			}
			w.wantTold(t, told{errDown, opensAfter})
			time.Sleep(time.Hour - opensAfter + pingEvery/2)
			if w.refuses() == nil {
				t.Error("a call is let through after an hour")
			}
			if n, want := w.pings.Load(), int32(time.Hour/pingEvery); n != want {
				t.Errorf("pinged %d times, want %d", n, want)
			}
			w.answers.Store(true)
			time.Sleep(pingEvery)
			if w.refuses() != nil {
				t.Error("a call is refused though Redis answers")
			}
			w.wantTold(t, told{errDown, opensAfter}, told{nil, time.Hour + pingEvery})
			pings := w.pings.Load()
			time.Sleep(time.Hour)
			if w.pings.Load() != pings {
				t.Error("it goes on pinging")
			}
		},
		"a refusal names what Redis fails with, and not that it takes too long": func(t *testing.T, w *world) {
			causes := make(chan error, 1)
			cause := errDown
			w.ping = func(context.Context) error {
				select {
				case cause = <-causes:
				default:
				}
				return cause
			}
			w.failed(io.EOF) // the connection was lost
			time.Sleep(opensAfter + pingEvery/2)
			for _, late := range []error{errDown, context.DeadlineExceeded, os.ErrDeadlineExceeded, redis.ErrPoolTimeout} {
				causes <- late
				time.Sleep(2 * pingEvery)
				err := w.refuses()
				if !errors.Is(err, ErrBreakerOpen) || !errors.Is(err, errDown) || errors.Is(err, io.EOF) || !strings.HasPrefix(fmt.Sprint(err), errDown.Error()+" (") {
					t.Errorf("pings fail with %v, and calls are refused with: %v", late, err)
				}
			}
			if n := testing.AllocsPerRun(100, func() { _ = w.refuses() }); n != 0 {
				t.Errorf("a refusal takes %v allocations", n)
			}
			w.wantTold(t, told{errDown, opensAfter})
		},
		"a single failure long ago refuses nobody": func(t *testing.T, w *world) {
			w.answers.Store(true)
			w.failed(errDown)
			time.Sleep(opensAfter * 10)
			if n := w.pings.Load(); w.refuses() != nil || n != 1 {
				t.Errorf("refuses with %v after %d pings", w.refuses(), n)
			}
			w.wantTold(t)
		},
		"it fails again and again": func(t *testing.T, w *world) {
			var want []told
			for range 3 {
				w.answers.Store(false)
				w.failed(errDown)
				time.Sleep(opensAfter + pingEvery/2)
				if w.refuses() == nil {
					t.Error("a call is let through")
				}
				w.answers.Store(true)
				time.Sleep(pingEvery)
				want = append(want, told{errDown, opensAfter}, told{nil, opensAfter + pingEvery})
			}
			w.wantTold(t, want...)
		},
		"a call that succeeds while a ping fails closes it": func(t *testing.T, w *world) {
			ping := w.ping
			w.ping = func(ctx context.Context) error {
				if w.pings.Load() == 10 {
					w.succeeded()
				}
				return ping(ctx)
			}
			w.failed(errDown)
			time.Sleep(20 * pingEvery)
			w.wantTold(t, told{errDown, opensAfter}, told{nil, 11 * pingEvery})
		},
		"a failure while it is told of the end is not lost": func(t *testing.T, w *world) {
			again := w.changed
			w.changed = func(err error, since time.Time) {
				again(err, since)
				if err == nil && len(w.told) == 2 {
					w.answers.Store(false)
					w.failed(errDown) // by a call, when the task that pings is about to end
				}
			}
			w.failed(errDown)
			time.Sleep(opensAfter + pingEvery/2)
			w.answers.Store(true)
			time.Sleep(2 * opensAfter)
			if w.refuses() == nil {
				t.Error("a call is let through")
			}
			w.answers.Store(true)
			time.Sleep(pingEvery)
			if w.refuses() != nil {
				t.Error("nobody pings any more")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newWorld(t.Context())) })
		})
	}
}

func TestBreakerEndsWithItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		w := newWorld(life)
		w.failed(errDown)
		time.Sleep(time.Minute)
		end()
		w.tasks.Wait()
	})
}

// Of the errors that a Redis fails with, the one that says what to do is kept, whatever
// comes after it; a call that is refused carries it, and so does what is logged.
func TestBreakerKeepsTheCauseThatSaysMost(t *testing.T) {
	t.Parallel()
	reset, refused := errors.New("connection reset by peer"), errors.New("connection refused")
	badCert := &tls.CertificateVerificationError{Err: errors.New("unknown authority")}
	for name, tt := range map[string]struct {
		fails []error // the first, and those of the pings after it
		want  error
	}{
		"the first":                           {[]error{reset}, reset},
		"a later one":                         {[]error{reset, refused}, refused},
		"one with a reason":                   {[]error{reset, badCert}, badCert},
		"one with a reason, then one without": {[]error{reset, badCert, reset}, badCert},
		"one with a reason at once":           {[]error{badCert, reset, refused}, badCert},
		"two with a reason":                   {[]error{badCert, ErrReplica}, ErrReplica},
		"timeouts":                            {[]error{refused, context.DeadlineExceeded, os.ErrDeadlineExceeded}, refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &breaker{run: func(func(context.Context)) {}}
			b.failed(tt.fails[0])
			for _, err := range tt.fails[1:] {
				b.learns(err)
			}
			f := b.failing.Load()
			if f.cause.Err != tt.want || f.cause.Reason != reasonOf(tt.want) || !errors.Is(f.refusal, tt.want) || f.refusal.Reason != f.cause.Reason {
				t.Errorf("kept %v (reason %d), refuses with %v; want %v", f.cause, f.cause.Reason, f.refusal, tt.want)
			}
		})
	}
}
