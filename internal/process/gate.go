package process

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"authsvc/internal/answer"
	"authsvc/internal/telemetry"
)

// A place is the unit in which memory for callers is counted: what a connection of
// HTTP/1 needs at most while it sends a body or waits, with a usual head.
const (
	placeSize   = 32 << 10
	tlsPlaces   = 1  // that TLS needs besides
	http2Places = 40 // that HTTP/2 needs besides: a half-sent head, and frames that are not read
	spares      = 64 // connections and streams beyond the places that are answered with 503 at the same time

	maxStreams = 32 // of a connection of HTTP/2

	// A connection is not closed for another one before it had the time to send its
	// request.
	leastIdle = 250 * time.Millisecond

	handshakeTimeout = 10 * time.Second
	refusalTimeout   = 2 * time.Second // for reading a request that is answered with 503
)

// gate lets in connections to the public listener, as many as there are places for. A
// new one for which there is none takes that of the connection that has been idle for
// longest, which may be in the middle of a head. If none is idle, the new one is
// answered with 503 while there are spares, and then waits in the backlog of the socket.
//
// It hands connections on to three servers. One of HTTP/2 needs 40 places and is not
// agreed on when half of all are used that way; each of its requests needs one more.
type gate struct {
	log   *slog.Logger
	room  int         // places
	tls   *tls.Config // nil: no TLS
	clock func() time.Time
	start time.Time

	socket *net.TCPListener
	// What has been let in, by protocol, and what is answered with 503.
	http1, http2, refused door
	closed                chan struct{}
	close                 sync.Once

	mu       sync.Mutex
	left     sync.Cond // a guest has left, or the gate is closing
	closing  bool
	entry    int // places that a connection needs
	taken    int // places
	inHTTP2  int // of these, by connections of HTTP/2
	answered int // spares in use
	guests   []*guest
	hand     int // where the search for an idle one goes on
	// What was turned away: answered with 503, idle and closed for a new one, closed
	// without an answer.
	shed struct{ answered, idle, cut uint64 }
}

func newGate(room int, clock func() time.Time, log *slog.Logger) *gate {
	g := &gate{log: log, room: room, entry: 1, clock: clock, start: clock(), closed: make(chan struct{})}
	g.left.L = &g.mu
	for _, d := range []*door{&g.http1, &g.http2, &g.refused} {
		*d = door{gate: g, conns: make(chan net.Conn)}
	}
	return g
}

// open gives the gate the socket whose connections it accepts. config is nil without TLS.
func (g *gate) open(socket *net.TCPListener, config *tls.Config) {
	g.socket = socket
	if config != nil {
		g.entry += tlsPlaces
		g.tls = config.Clone()
		g.tls.NextProtos = []string{"http/1.1"}
		both := config.Clone()
		both.NextProtos = []string{"h2", "http/1.1"}
		g.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(hello.SupportedProtos, "h2") && g.hasRoomForHTTP2(hello.Conn.(*guest)) {
				return both, nil
			}
			return nil, nil
		}
	}
}

// accept accepts connections until the gate, which is open, is closed.
func (g *gate) accept() {
	for wait := time.Duration(0); ; {
		g.mu.Lock()
		for !g.closing && g.taken+g.entry > g.room && g.answered >= spares {
			g.left.Wait()
		}
		g.mu.Unlock()
		conn, err := g.socket.AcceptTCP()
		switch {
		case err == nil:
			wait = 0
			g.enter(conn)
		case errors.Is(err, net.ErrClosed):
			return
		default: // no file descriptors are left, for instance
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			g.log.Error("a connection could not be accepted", "cause", err.Error())
			select {
			case <-g.closed:
			case <-time.After(wait):
			}
		}
	}
}

// Close stops accepting connections. Those that have been let in stay.
func (g *gate) Close() error {
	var err error
	g.close.Do(func() {
		err = g.socket.Close()
		close(g.closed)
		g.mu.Lock()
		g.closing = true
		g.left.Broadcast()
		g.mu.Unlock()
	})
	return err
}

// enter lets in a connection, or has it answered with 503.
func (g *gate) enter(conn *net.TCPConn) {
	v := &guest{TCPConn: conn, gate: g, places: g.entry}
	v.idleSince.Store(g.now())
	g.mu.Lock()
	for g.taken+v.places > g.room {
		idle := g.longestIdle()
		if idle == nil {
			break
		}
		g.shed.idle++
		g.leave(idle)
		_ = idle.TCPConn.Close()
	}
	if g.taken+v.places > g.room {
		v.places, v.refused = 0, true
		g.answered++
		g.shed.answered++
	}
	g.taken += v.places
	g.guests = append(g.guests, v)
	v.at = len(g.guests) - 1
	g.mu.Unlock()
	if g.tls != nil {
		go g.handshake(v)
		return
	}
	v.door().admit(&http1Conn{Conn: v, guest: v, inHead: true})
}

// handshake finishes the handshake of TLS, which says which server is to have a
// connection.
func (g *gate) handshake(v *guest) {
	timeout := handshakeTimeout
	if v.refused {
		timeout = refusalTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn := tls.Server(v, g.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		g.log.Debug("TLS handshake failed", "client", v.RemoteAddr().String(), "cause", err.Error())
		if e := (tls.RecordHeaderError{}); errors.As(err, &e) && e.Conn != nil && isHTTP(e.RecordHeader) {
			_, _ = io.WriteString(e.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		}
		_ = v.Close()
		return
	}
	switch {
	case conn.ConnectionState().NegotiatedProtocol != "h2":
		v.door().admit(overTLS{&http1Conn{Conn: conn, guest: v, inHead: true}})
	case g.takeHTTP2(v):
		g.http2.admit(conn)
	default: // others were quicker
		_ = v.Close()
	}
}

// isHTTP reports whether what should be the head of a TLS record is HTTP.
func isHTTP(head [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"}, string(head[:]))
}

func (g *gate) hasRoomForHTTP2(v *guest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !v.refused && g.taken+http2Places <= g.room && g.inHTTP2+http2Places <= g.room/2
}

func (g *gate) takeHTTP2(v *guest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.gone || g.taken+http2Places > g.room || g.inHTTP2+http2Places > g.room/2 {
		g.shed.cut++
		return false
	}
	v.http2 = true
	v.places += http2Places
	g.taken += http2Places
	g.inHTTP2 += http2Places
	return true
}

// take takes more places, for a large head or a stream of HTTP/2, if they are free.
func (g *gate) take(places int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken+places > g.room {
		return false
	}
	g.taken += places
	return true
}

func (g *gate) give(places int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken -= places
	g.left.Signal()
}

// takeHead takes more places for a guest whose head is large, if they are free, or gives
// some back if their number is negative. The guest gives back the rest as it leaves.
func (g *gate) takeHead(v *guest, places int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case v.gone:
		return false
	case places > 0 && g.taken+places > g.room:
		g.shed.cut++
		return false
	}
	v.places += places
	g.taken += places
	if places < 0 {
		g.left.Signal()
	}
	return true
}

// leave takes a guest off the list; g.mu is held.
func (g *gate) leave(v *guest) {
	if v.gone {
		return
	}
	v.gone = true
	last := g.guests[len(g.guests)-1]
	g.guests[v.at], last.at = last, v.at
	g.guests = slices.Delete(g.guests, len(g.guests)-1, len(g.guests))
	g.taken -= v.places
	if v.http2 {
		g.inHTTP2 -= http2Places
	}
	if v.refused {
		g.answered--
	}
	g.left.Signal()
}

// longestIdle returns, of a part of the guests that takes turns, the one that has been
// idle for longest, or nil if all of them have something to do, or have just come. g.mu
// is held.
func (g *gate) longestIdle() *guest {
	const part = 64
	var idle *guest
	just := g.now() - int64(leastIdle)
	for i := range g.guests {
		if i%part == 0 && idle != nil {
			break
		}
		g.hand = (g.hand + 1) % len(g.guests)
		v := g.guests[g.hand]
		since := v.idleSince.Load()
		if since != 0 && since <= just && !v.refused && (idle == nil || since < idle.idleSince.Load()) {
			idle = v
		}
	}
	return idle
}

// now returns the time since the start, which is never 0.
func (g *gate) now() int64 { return int64(g.clock().Sub(g.start)) + 1 }

// figures returns what the metrics show.
func (g *gate) figures() telemetry.Connections {
	g.mu.Lock()
	defer g.mu.Unlock()
	return telemetry.Connections{Open: len(g.guests), Taken: g.taken, Places: g.room, Answered: g.shed.answered, Idle: g.shed.idle, Cut: g.shed.cut}
}

// streams returns a handler that takes a place for each request of HTTP/2 until its
// answer is sent, and answers those for which there is none with full.
func (g *gate) streams(next, full http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		places := 1 + headPlaces(answer.HeadSize(r))
		if g.take(places) {
			defer g.give(places)
			next.ServeHTTP(w, r)
		} else {
			if !g.takeSpare() {
				panic(http.ErrAbortHandler)
			}
			defer g.giveSpare()
			full.ServeHTTP(w, r)
		}
		_ = http.NewResponseController(w).Flush() // waits until the caller takes it, or for writeTimeout
	})
}

func (g *gate) takeSpare() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.answered >= spares {
		g.shed.cut++
		return false
	}
	g.answered++
	g.shed.answered++
	return true
}

func (g *gate) giveSpare() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered--
	g.left.Signal()
}

// state tells the gate when a connection is idle; it is the ConnState of the servers.
func (g *gate) state(conn net.Conn, s http.ConnState) {
	var v *guest
	switch c := conn.(type) {
	case *tls.Conn:
		v = c.NetConn().(*guest)
	case overTLS:
		v = c.guest
		c.state(s)
	case *http1Conn:
		v = c.guest
		c.state(s)
	}
	switch s {
	case http.StateActive:
		v.idleSince.Store(0)
	case http.StateIdle:
		v.idleSince.Store(g.now())
	}
}

// door is the listener of one of the servers behind a gate.
type door struct {
	gate  *gate
	conns chan net.Conn
}

func (d *door) admit(conn net.Conn) {
	select {
	case d.conns <- conn:
	case <-d.gate.closed:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.conns:
		return conn, nil
	case <-d.gate.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It closes the gate.
func (d *door) Close() error { return d.gate.Close() }

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return d.gate.socket.Addr() }

// guest is a connection.
type guest struct {
	*net.TCPConn
	gate      *gate
	idleSince atomic.Int64 // by gate.now; 0: it has a request

	// With gate.mu held:
	at      int // in gate.guests
	places  int
	http2   bool
	gone    bool
	refused bool // it is to be answered with 503; never changes
}

func (v *guest) door() *door {
	if v.refused {
		return &v.gate.refused
	}
	return &v.gate.http1
}

// Close implements net.Conn.
func (v *guest) Close() error {
	v.gate.mu.Lock()
	v.gate.leave(v)
	v.gate.mu.Unlock()
	return v.TCPConn.Close()
}

// http1Conn is what a server of HTTP/1 reads from. It counts what a head holds while it
// comes in, which net/http does not: it keeps up to 17 times as much for tiny headers.
type http1Conn struct {
	net.Conn // the guest, or TLS over it
	guest    *guest
	inHead   bool
	bytes    int // of the head that is being read
	lines    int
	places   int // taken for it
}

// Read implements net.Conn.
func (c *http1Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.inHead || n == 0 {
		return n, err
	}
	head := b[:n]
	if end := bytes.Index(head, []byte("\r\n\r\n")); end >= 0 {
		head = head[:end] // what follows belongs to the body
	}
	c.bytes += len(head)
	c.lines += bytes.Count(head, []byte("\n"))
	if c.lines > answer.MaxHeaders+100 { // for a few less, there is a row
		return 0, c.tooManyLines()
	}
	if more := headPlaces(c.bytes, c.lines) - c.places; more > 0 {
		if !c.guest.gate.takeHead(c.guest, more) {
			return 0, errCut
		}
		c.places += more
	}
	return n, err
}

// errCut is an error that net/http gives no answer to.
var errCut = &net.OpError{Op: "read", Err: errors.New("there is no place for a head of this size")}

// headPlaces returns how many places the head of a request needs that is larger than
// usual. Each header takes memory besides its text.
func headPlaces(bytes, lines int) int {
	return max(0, 2*bytes+128*lines-placeSize/2+placeSize-1) / placeSize
}

// tooManyLines answers a head of very many headers as net/http answers one of very many
// bytes. Its error ends the connection.
func (c *http1Conn) tooManyLines() error {
	const text = "431 Request Header Fields Too Large"
	_ = c.SetDeadline(time.Now().Add(refusalTimeout))
	_, _ = io.WriteString(c.Conn, "HTTP/1.1 "+text+"\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+text)
	_ = c.CloseWrite()
	_, _ = io.CopyN(io.Discard, c.Conn, answer.MaxHeaderBytes) // or the answer may be lost
	return errCut
}

// CloseWrite is what net/http calls when it answers before it has read all.
func (c *http1Conn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

func (c *http1Conn) state(s http.ConnState) {
	switch s {
	case http.StateActive:
		c.inHead = false
	case http.StateIdle:
		if c.places > 0 {
			c.guest.gate.takeHead(c.guest, -c.places)
		}
		c.inHead, c.bytes, c.lines, c.places = true, 0, 0, 0
	}
}

// overTLS is an http1Conn over TLS.
type overTLS struct{ *http1Conn }

// ConnectionState is where net/http finds the state of TLS.
func (c overTLS) ConnectionState() tls.ConnectionState {
	return c.Conn.(*tls.Conn).ConnectionState()
}
