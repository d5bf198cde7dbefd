package redistest

import (
	"bytes"
	"iter"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy forwards between a client and a Redis, or any other server, and produces network
// faults on demand. It ends with the test.
type Proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	change *sync.Cond // signals a change of the fields below
	links  map[*link]struct{}
	closed bool
	refuse bool
	hole   bool
	lost   string // the address whose connections are in a hole as well; "": none
	delay  time.Duration
	toCut  int
	match  func(request []byte) bool
	cut    int
}

// link is a connection of a client, and the one to Redis behind it.
type link struct {
	client, redis net.Conn
	from          string        // the client's address
	delay         time.Duration // in each direction
	doomed        bool          // the next reply is swallowed; guarded by Proxy.mu
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.redis.Close()
}

// NewProxy starts a proxy to a Redis at host:port.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: l, links: map[*link]struct{}{}}
	p.change = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.set(func() {
			p.closed = true
			p.closeLinks()
		})
		p.wg.Wait()
	})
	return p
}

// Addr returns the host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL returns the redis:// URL of the proxy.
func (p *Proxy) URL() string { return "redis://" + p.Addr() + "/0" }

// CutReplies drops the replies to the next n requests that match (nil: any): the
// request reaches Redis, which executes it; the reply is swallowed, and the client's
// connection is closed.
func (p *Proxy) CutReplies(n int, match func(request []byte) bool) {
	p.set(func() { p.toCut, p.match = n, match })
}

// Cut returns how many replies were dropped so far.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut
}

// Refuse closes every connection, and each new one as soon as it is opened.
func (p *Proxy) Refuse(on bool) {
	p.set(func() {
		if p.refuse = on; on {
			p.closeLinks()
		}
	})
}

// Blackhole keeps connections open and accepts new ones, but forwards nothing. What was
// sent meanwhile arrives when it ends, even from clients that have given up, as in a
// real network.
func (p *Proxy) Blackhole(on bool) { p.set(func() { p.hole = on }) }

// Lose loses what the connections from an address send and are sent, and what new ones do.
// "" ends it, and closes them.
func (p *Proxy) Lose(from string) {
	p.set(func() {
		if from == "" {
			for l := range p.links {
				if l.from == p.lost {
					l.close()
				}
			}
		}
		p.lost = from
	})
}

// Delay makes each round trip take this much longer, as if Redis were that far away, for
// connections that are opened from now on: what is sent arrives half of it later, in
// either direction. Only opening a connection, which needs no answer of Redis, takes no
// longer.
func (p *Proxy) Delay(roundTrip time.Duration) { p.set(func() { p.delay = roundTrip }) }

func (p *Proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.change.Broadcast()
}

func (p *Proxy) closeLinks() {
	for l := range p.links {
		l.close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		redis, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		l := &link{client: client, redis: redis, from: addrOf(client), delay: p.delay / 2}
		if p.refuse || p.closed {
			l.close()
		} else {
			p.links[l] = struct{}{}
			p.wg.Go(func() { p.forward(l) })
		}
		p.mu.Unlock()
	}
}

func addrOf(c net.Conn) string {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	return host
}

func (p *Proxy) forward(l *link) {
	var replies sync.WaitGroup
	replies.Go(func() { p.pump(l, l.redis, l.client, p.mayReply) })
	p.pump(l, l.client, l.redis, p.mayRequest)
	replies.Wait()
	p.set(func() { delete(p.links, l) })
}

// pump copies until either end is closed, or may returns false.
func (p *Proxy) pump(l *link, from, to net.Conn, may func(*link, []byte) bool) {
	defer l.close()
	for data := range arrivals(from, l.delay) {
		if !may(l, data) {
			return
		}
		if _, err := to.Write(data); err != nil {
			return
		}
	}
}

// arrivals yields what is read from a connection, each piece this long after it was
// read. It ends with the connection; the pieces must not be kept.
func arrivals(from net.Conn, delay time.Duration) iter.Seq[[]byte] {
	read := func(yield func([]byte) bool) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 && !yield(buf[:n]) || err != nil {
				return
			}
		}
	}
	if delay == 0 {
		return read
	}
	return func(yield func([]byte) bool) {
		type piece struct {
			data []byte
			due  time.Time
		}
		way, left := make(chan piece, 1024), make(chan struct{})
		defer close(left)
		go func() {
			defer close(way)
			for data := range read {
				select {
				case way <- piece{bytes.Clone(data), time.Now().Add(delay)}:
				case <-left:
					return
				}
			}
		}()
		for p := range way {
			if time.Sleep(time.Until(p.due)); !yield(p.data) {
				return
			}
		}
	}
}

func (p *Proxy) mayRequest(l *link, request []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outOfHole(l)
	if p.toCut > 0 && (p.match == nil || p.match(request)) {
		p.toCut--
		l.doomed = true
	}
	return true
}

func (p *Proxy) mayReply(l *link, _ []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outOfHole(l)
	if l.doomed {
		p.cut++
	}
	return !l.doomed
}

func (p *Proxy) outOfHole(l *link) {
	for (p.hole || p.lost == l.from) && !p.closed {
		p.change.Wait()
	}
}
