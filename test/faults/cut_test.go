package faults

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// cuts is a scenario in which replies of Redis are lost after it has written.
type cuts struct {
	binary string
	alone  bool // see load
	times  int
}

// run drops every second reply to a write of one process, so that the reply to the
// process's own retry is often lost, too, and its callers get no verdict. Another
// process, to which they turn and which others use at the same time, loses none.
func (c cuts) run(t *testing.T) *service {
	t.Helper()
	r := redistest.Start(t)
	proxy := redistest.NewProxy(t, r.Addr())
	s := serve(t, c.binary, []string{proxy.URL(), r.URL()}, "--refresh-grace", "10m")
	proxy.CutReplies(1<<30, func(request []byte) bool { return isWrite(request) && rand.N(2) == 0 })
	<-s.begin(load{callers: 32, alone: c.alone, enough: func() bool { return proxy.Cut() >= c.times }})
	proxy.CutReplies(0, nil)
	s.settle()
	figure(t, "%d replies cut after the write, %d attempts ended without a verdict; %d refreshes acknowledged",
		proxy.Cut(), s.unsure.Load(), s.refreshed.Load())
	return s
}

// isWrite reports whether a request contains a write of a grant: its creation, a
// rotation or a revocation.
func isWrite(request []byte) bool {
	request = bytes.ToUpper(request)
	return bytes.Contains(request, []byte("\r\nNX\r\n")) || bytes.Contains(request, []byte("EVAL")) || bytes.Contains(request, []byte("\r\nDEL\r\n"))
}

// The reply to a write is lost after it was done: every caller recovers, and the retry
// of a refresh returns exactly the pair of the lost reply, whichever process it
// reaches.
func TestReplyCutAfterTheWrite(t *testing.T) {
	c := cuts{binary: authsvctest.Binary(t), times: size(100, 2000)}
	c.run(t).judge(rules{late: defaultLate}).acquit(t)

	control(t, "a retry is taken for a replay", func(t *testing.T) {
		c := cuts{binary: authsvctest.BuildPatched(t, authsvctest.RetryIsReplay), alone: true, times: 500}
		convict(t, lost, func() verdict { return c.run(t).judge(rules{late: defaultLate}) })
	})
	control(t, "a retry gets a pair of its own", func(t *testing.T) {
		c := cuts{binary: authsvctest.BuildPatched(t, authsvctest.RetryGetsItsOwnPair), times: 500}
		convict(t, doubleSpent, func() verdict { return c.run(t).judge(rules{late: defaultLate}) })
	})
}
