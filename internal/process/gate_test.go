package process

import (
	"bufio"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/config"
	"authsvc/internal/redistest"
	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

// house is a process of which only the public listener is there. Its handler answers
// requests to /wait once they are told to.
type house struct {
	*Process
	t      *testing.T
	addr   string
	ahead  atomic.Int64  // of its clock, in nanoseconds
	waits  chan struct{} // one for each request to /wait
	finish chan struct{}
}

func newHouse(t *testing.T, room int, config *tls.Config) *house {
	t.Helper()
	h := &house{Process: &Process{log: slog.New(slog.DiscardHandler)}, t: t, waits: make(chan struct{}), finish: make(chan struct{})}
	h.metrics = telemetry.NewMetrics(token.NewClock(time.Now))
	h.gate = newGate(room, func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }, h.log)
	servers, err := h.servers(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			h.waits <- struct{}{}
			<-h.finish
		}
		_, _ = io.WriteString(w, r.Proto)
	}), "http://127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = socket.Addr().String()
	h.gate.open(socket.(*net.TCPListener), config)
	go h.gate.accept()
	for i, d := range []*door{&h.gate.http1, &h.gate.http2, &h.gate.refused} {
		go func() { _ = serve(servers[i], d) }()
		t.Cleanup(func() { _ = servers[i].Close() })
	}
	return h
}

// A caller is a client with a connection of its own.
type caller struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (h *house) call() *caller {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return &caller{conn, h.t, bufio.NewReader(conn)}
}

func (c *caller) send(path string) *caller {
	_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
	return c
}

func (c *caller) want(status int) (body string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status || res.Close != (status >= 400) {
		c.t.Fatalf("%d %v %s, %v; want %d", res.StatusCode, res.Header, text, err, status)
	}
	return string(text)
}

// holds waits until there are this many connections.
func (h *house) holds(connections int) {
	h.t.Helper()
	redistest.Eventually(h.t, "connections to come or go", func() bool { return h.gate.figures().Open == connections })
}

// age makes all idle connections have been idle for long.
func (h *house) age() {
	h.ahead.Add(int64(time.Minute))
}

// In a full house, a new caller is told so, until one leaves.
func TestFullHouse(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 3, nil)
	var inside []*caller
	for range 3 {
		inside = append(inside, h.call().send("/wait"))
		<-h.waits
	}
	body := h.call().send("/wait").want(http.StatusServiceUnavailable)
	if !strings.Contains(body, `"APIG.0613"`) || !strings.Contains(body, "connections") {
		t.Error(body)
	}
	h.holds(3)
	h.finish <- struct{}{}
	close(h.finish)
	for _, c := range inside {
		c.want(http.StatusOK)
		_ = c.Close()
	}
	h.holds(0)
	h.call().send("/").want(http.StatusOK)
	if f := h.gate.figures(); f.Answered != 1 || f.Idle != 0 || f.Cut != 0 {
		t.Errorf("%+v", f)
	}
}

// An idle connection leaves for a new one, whether it has had a request, is in the middle
// of a head, or has sent nothing; one that has just come stays.
func TestIdleLeaves(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*caller){
		"after a request": func(c *caller) { c.send("/").want(http.StatusOK) },
		"in a head":       func(c *caller) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\n") },
		"nothing sent":    func(*caller) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, 2, nil)
			busy, idle := h.call().send("/wait"), h.call()
			<-h.waits
			begin(idle)
			h.holds(2)
			h.call().send("/").want(http.StatusServiceUnavailable)
			h.holds(2)
			h.age()
			h.call().send("/").want(http.StatusOK)
			if _, err := idle.r.ReadByte(); err == nil {
				t.Error("the idle connection is still open")
			}
			close(h.finish)
			busy.want(http.StatusOK)
		})
	}
}

// Callers beyond the spares wait in the backlog, and are served when others leave.
func TestBacklog(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 1, nil)
	busy := h.call().send("/wait")
	<-h.waits
	for range spares {
		h.call() // and sends nothing
	}
	h.holds(1 + spares)
	waiting := h.call().send("/")
	close(h.finish)
	busy.want(http.StatusOK)
	_ = busy.Close()
	waiting.want(http.StatusOK)
}

// A large head takes more places, for as long as its request lasts, and one for which
// there are none is closed.
func TestLargeHeads(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 5, nil)
	c := h.call()
	head := "GET /wait HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("x", 31<<10)
	_, _ = io.WriteString(c, head)
	redistest.Eventually(t, "the head to be read", func() bool { return h.gate.figures().Taken == 3 })
	large := h.call()
	_, _ = io.WriteString(large, "GET / HTTP/1.1\r\nHost: x\r\nA: "+strings.Repeat("x", 100<<10))
	if _, err := large.r.ReadByte(); err == nil {
		t.Error("the larger head is answered")
	}
	_, _ = io.WriteString(c, "\r\n\r\n")
	<-h.waits
	h.holds(1)
	if f := h.gate.figures(); f.Taken != 3 || f.Cut != 1 {
		t.Errorf("%+v", f)
	}
	close(h.finish)
	c.want(http.StatusOK)
	redistest.Eventually(t, "the places to be free", func() bool { return h.gate.figures().Taken == 1 })
}

// Heads with too many lines are answered with 431, those with fewer by a handler.
func TestManyLines(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 100, nil)
	head := func(lines int) string {
		return "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n" + strings.Repeat("a:\r\n", lines) + "\r\n" + strings.Repeat("\n", 4000)
	}
	c := h.call()
	_, _ = io.WriteString(c, head(1050))
	c.want(http.StatusOK)
	_, _ = io.WriteString(c, head(5)+head(7)) // a body of lines is no head
	c.want(http.StatusOK)
	c.want(http.StatusOK)
	_, _ = io.WriteString(c, head(1200))
	c.want(http.StatusRequestHeaderFieldsTooLarge)
}

// With TLS, HTTP/2 is agreed on while there are places for it, and each of its requests
// takes one.
func TestGateWithTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	redistest.NewCerts(t).InstallServer(t, dir+"/crt", dir+"/key")
	cert, err := tls.LoadX509KeyPair(dir+"/crt", dir+"/key")
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, 2*(1+tlsPlaces+http2Places)+1, &tls.Config{Certificates: []tls.Certificate{cert}})
	client := func() *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	get := func(c *http.Client, path string) string {
		res, err := c.Get("https://" + h.addr + path)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.Status + " " + string(body)
	}
	first, second := client(), client()
	if got := get(first, "/"); got != "200 OK HTTP/2.0" {
		t.Fatal(got)
	}
	if got := get(second, "/"); got != "200 OK HTTP/1.1" { // half of all places
		t.Fatal(got)
	}
	before := h.gate.figures().Taken
	done := make(chan string)
	go func() { done <- get(first, "/wait") }()
	<-h.waits
	if after := h.gate.figures().Taken; after != before+1 {
		t.Errorf("%d places taken, %d before the request", after, before)
	}
	if !h.gate.take(h.gate.room - before - 1) {
		t.Fatal("places are missing")
	}
	if got := get(first, "/"); !strings.HasPrefix(got, "503") || !strings.Contains(got, "APIG.0613") {
		t.Error(got)
	}
	close(h.finish)
	if got := <-done; got != "200 OK HTTP/2.0" {
		t.Error(got)
	}
	plain := h.call().send("/")
	if text, _ := io.ReadAll(plain); !strings.Contains(string(text), "HTTP request to an HTTPS server") {
		t.Errorf("plain HTTP: %q", text)
	}
}

// The setting goes before what fits.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	if n := (&Process{cfg: config.Config{MaxConnections: 77}}).room(); n != 77 {
		t.Errorf("%d places", n)
	}
}
