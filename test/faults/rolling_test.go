package faults

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// Three processes behind a TCP balancer are replaced one after the other under
// load. No request fails.
func TestRollingRestart(t *testing.T) {
	sideBySide(t)
	rollingRestart(t, authsvctest.Binary(t)).none(t)
	// A request fails only if its connection is closed at the wrong moment, so the
	// controls have several tries.
	without := func(protection string, p authsvctest.Patch) {
		control(t, protection, func(t *testing.T) {
			binary, f := authsvctest.BuildPatched(t, p), &findings{}
			for n := 0; n < 5 && len(f.all) == 0; n++ {
				f = rollingRestart(t, binary)
			}
			f.some(t, "")
		})
	}
	without("the process does not wait for the balancer", authsvctest.StopsAtOnce)
	without("answers do not ask clients to close their connections", authsvctest.ConnectionsOutliveEnd)
}

func rollingRestart(t *testing.T, binary string) *findings {
	r := redistest.Start(t)
	site := authsvctest.NewSite(t)
	b := newBalancer(t)
	drain := "3s"
	if !*full { // the wait for the balancer ends once it has reacted, not by time
		drain = "10m"
	}
	start := func() *backend {
		s := site.StartBinary(binary, r.URL(), append([]string{"--drain", drain}, authsvctest.Patient...)...)
		s.WaitReady()
		return b.add(s)
	}
	servers := []*backend{start(), start(), start()}
	c := startTraffic(t, b.url(), size(8, 32), 0)
	c.more(100)
	began := time.Now()
	for _, s := range servers {
		s.Signal(syscall.SIGTERM)
		if !*full {
			s.Stderr.Event(t, "stopping", s.Ended)
			redistest.Eventually(t, "the callers to leave a process", func() bool {
				return !s.ready.Load() && s.held.Load() == 0
			})
			s.Signal(syscall.SIGTERM)
		}
		select {
		case <-s.Ended:
		case <-time.After(time.Minute):
			c.add("the process does not exit:\n%s", s.Stderr.Text())
			return &c.findings
		}
		if code := s.Cmd.ProcessState.ExitCode(); code != 0 {
			c.add("exit status %d:\n%s", code, s.Stderr.Text())
		}
		start()
		c.more(100)
	}
	took := time.Since(began)
	c.end()
	figure(t, "rolling restart: three processes in %v, %d requests, %d connections through the balancer, %d failed; p50 %v, p99 %v, slowest %v",
		took.Round(time.Millisecond), c.count.Load(), b.passed.Load(), len(c.all), c.slowest(.5), c.slowest(.99), c.slowest(1))
	return &c.findings
}

// balancer passes each new connection to the next process that was ready at its last
// check, and that accepts connections. It does not inspect connections, and retries
// nothing. It ends with the test.
type balancer struct {
	listener net.Listener
	ended    chan struct{}
	wg       sync.WaitGroup
	passed   atomic.Int64 // connections

	mu       sync.Mutex
	backends []*backend // the next first
}

type backend struct {
	*authsvctest.Server
	ready atomic.Bool
	held  atomic.Int64 // connections
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l, ended: make(chan struct{})}
	b.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() { b.pass(client.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		close(b.ended)
		_ = l.Close()
		b.wg.Wait()
	})
	return b
}

func (b *balancer) url() string { return "http://" + b.listener.Addr().String() }

// add adds a process that is ready, and stops using it once it has exited.
func (b *balancer) add(s *authsvctest.Server) *backend {
	be := &backend{Server: s}
	be.ready.Store(true)
	b.mu.Lock()
	b.backends = append(b.backends, be)
	b.mu.Unlock()
	b.wg.Go(func() {
		every := time.NewTicker(50 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				be.ready.Store(s.Ready())
			case <-s.Ended:
				be.ready.Store(false)
				return
			case <-b.ended:
				return
			}
		}
	})
	return be
}

// pass connects a client to a process until both sides are done.
func (b *balancer) pass(client *net.TCPConn) {
	defer client.Close()
	be, process := b.connect()
	if process == nil {
		return
	}
	defer be.held.Add(-1)
	defer process.Close()
	b.passed.Add(1)
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, process)
		_ = client.CloseWrite()
	})
	_, _ = io.Copy(process, client)
	_ = process.CloseWrite()
	answers.Wait()
}

// connect returns a connection to the next process, which it counts as held.
func (b *balancer) connect() (*backend, *net.TCPConn) {
	b.mu.Lock()
	b.backends = append(b.backends[1:], b.backends[0])
	inTurn := slices.Clone(b.backends)
	b.mu.Unlock()
	for _, be := range inTurn {
		be.held.Add(1) // before ready is checked, so that nobody sees a process that is not ready and has no connections
		if be.ready.Load() {
			if c, err := net.Dial("tcp", strings.TrimPrefix(be.URL, "http://")); err == nil {
				return be, c.(*net.TCPConn)
			}
		}
		be.held.Add(-1)
	}
	return nil, nil
}
