package faults

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
	"authsvc/internal/token"
)

// client has one grant, and behaves: it presents only its newest refresh token, sends a
// request that failed once more, and leaves before it turns to another process.
type client struct {
	newest authsvctest.Pair
	out    bool // it was refused: it is logged out
}

// errRefused is a verdict against a token, in an answer.
var errRefused = errors.New("refused")

// send sends a form as an app, as a caller with this client does.
func (h *client) send(ctx context.Context, client *http.Client, base, path, app string, params ...string) (authsvctest.Answer, error) {
	form := url.Values{"client_id": {app}, "client_secret": {authsvctest.Secret}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return authsvctest.Answer{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(r)
	if err != nil {
		return authsvctest.Answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return authsvctest.Answer{Status: res.StatusCode, Header: res.Header, Body: body}, err
}

// refresh exchanges the newest token for the next pair, once. If the token is refused, the
// holder is out.
func (h *client) refresh(ctx context.Context, client *http.Client, base string) error {
	a, err := h.send(ctx, client, base, "/oauth/token", authsvctest.Worker, "grant_type", "refresh_token", "refresh_token", h.newest.Refresh)
	switch {
	case err != nil:
		return err
	case a.Status == 200:
		h.newest = a.Pair()
		return nil
	case a.Text("error_code") == unavailable:
		return errors.New(unavailable)
	}
	h.out = true
	return errRefused
}

// pace is how long a caller rests between two requests. Nothing depends on it.
const pace = 20 * time.Millisecond

// insist refreshes until there is a verdict.
func (h *client) insist(ctx context.Context, client *http.Client, base string) {
	for ctx.Err() == nil {
		if err := h.refresh(ctx, client, base); err == nil || errors.Is(err, errRefused) {
			return
		}
		time.Sleep(pace)
	}
}

// outs are the clients that are logged out in the end, or whose newest access token is not
// active.
func outs(t *testing.T, holders []*client, s *authsvctest.Server) (n int) {
	t.Helper()
	for _, h := range holders {
		active := !h.out && s.Introspect(h.newest.Access).Active()
		if active {
			h.insist(t.Context(), s.Client, s.URL)
		}
		if !active || h.out {
			n++
		}
	}
	return n
}

func newClients(s *authsvctest.Server, n int) []*client {
	holders := make([]*client, n)
	for i := range holders {
		holders[i] = &client{newest: s.Issue(authsvctest.Worker).Pair()}
	}
	return holders
}

// late is what became of requests that came late.
type late struct {
	left, replays, out int
}

func lateAt(t *testing.T, s *authsvctest.Server) late {
	t.Helper()
	left, _ := s.Metric(`authsvc_grant_events_total{event="caller_left"}`)
	replays, _ := s.Metric(`authsvc_grant_events_total{event="refresh_replayed"}`)
	return late{left: int(left), replays: int(replays)}
}

// stoppedReplica is a scenario in which one of two processes stands still, with requests in
// its sockets, for longer than the grace, while its callers give up after a second and go to
// the other.
func stoppedReplica(t *testing.T, binary string, p place, grace time.Duration) late {
	t.Helper()
	site := authsvctest.NewSite(t)
	args := append([]string{"--refresh-grace", grace.String()}, authsvctest.Patient...)
	a, b := site.StartBinary(binary, p.url, args...), site.StartBinary(binary, p.url, args...)
	a.WaitReady()
	b.WaitReady()
	holders := newClients(b, size(12, 64))

	ctx, stop := context.WithTimeout(t.Context(), loadPatience)
	defer stop()
	var stopped, enough atomic.Bool
	var moved, onwards atomic.Int64 // callers who gave up on a and have gone on at b, and refreshes at a
	var wg sync.WaitGroup
	for i, h := range holders {
		hasty := &http.Client{Timeout: time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
		patient := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
		wg.Go(func() {
			defer hasty.CloseIdleConnections()
			defer patient.CloseIdleConnections()
			for n, gaveUp := i, false; ctx.Err() == nil && !enough.Load() && !h.out; n++ {
				time.Sleep(pace)
				late := stopped.Load()
				switch {
				case n%2 == 1 || late && gaveUp:
					h.insist(ctx, patient, b.URL)
				case h.refresh(ctx, hasty, a.URL) == nil:
					onwards.Add(1)
				default:
					for range 3 {
						h.insist(ctx, patient, b.URL)
					}
					if late && !gaveUp {
						gaveUp = true
						moved.Add(1)
					}
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { wg.Wait(); close(over) }()
	until(over, func() bool { return onwards.Load() >= int64(2*len(holders)) })
	a.Pause()
	stopped.Store(true)
	frozen := time.Now()
	until(over, func() bool { return moved.Load() >= int64(len(holders)) && time.Since(frozen) > grace+grace/4 })
	a.Resume()
	redistest.Eventually(t, "the late requests to be decided", func() bool {
		n := lateAt(t, a)
		return n.left+n.replays >= len(holders)
	})
	stopped.Store(false)
	onwards.Store(0)
	until(over, func() bool { return onwards.Load() >= int64(2*len(holders)) })
	enough.Store(true)
	<-over
	r := lateAt(t, a)
	r.out = outs(t, holders, b)
	figure(t, "a replica stopped for %.1f s, grace %v: of %d callers who gave up after 1 s and went to the other, %d were logged out; %d late requests whose caller had left, %d taken for replays",
		time.Since(frozen).Seconds(), grace, len(holders), r.out, r.left, r.replays)
	return r
}

// A process of ours stands still for longer than the grace, under load: nobody is logged out.
func TestReplicaStopped(t *testing.T) {
	sideBySide(t)
	everywhere(t, func(t *testing.T, p place) {
		grace := time.Duration(size(3, 20)) * time.Second
		if r := stoppedReplica(t, authsvctest.Binary(t), p, grace); r.out > 0 || r.replays > 0 {
			t.Errorf("%d callers were logged out, and %d replays reported", r.out, r.replays)
		}
	})
	control(t, "who has left counts as staying", func(t *testing.T) {
		if r := stoppedReplica(t, authsvctest.BuildPatched(t, authsvctest.LeaversStay), places["single"](t), 3*time.Second); r.out == 0 || r.replays == 0 {
			t.Errorf("%d callers were logged out, and %d replays reported", r.out, r.replays)
		}
	})
}

// The only process stands still for longer than the grace, after an answer that its caller
// did not get: the retry gets it.
func TestOnlyProcessStopped(t *testing.T) {
	sideBySide(t)
	const grace = 2 * time.Second
	s := authsvctest.NewSite(t).StartBinary(authsvctest.Binary(t), "memory://", append([]string{"--refresh-grace", grace.String()}, authsvctest.Patient...)...)
	s.WaitReady()
	h := newClients(s, 1)[0]
	unanswered := *h
	h.insist(t.Context(), s.Client, s.URL)
	s.Pause()
	time.Sleep(grace + token.MaxSilence)
	s.Resume()
	unanswered.insist(t.Context(), s.Client, s.URL)
	if unanswered.out || unanswered.newest != h.newest {
		t.Errorf("refused: %t", unanswered.out)
	}
}

// TestRelay is no test: startRelay runs it as a process of its own.
func TestRelay(t *testing.T) {
	target := os.Getenv("AUTHSVC_RELAY_TO")
	if target == "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.WriteString(l.Addr().String() + "\n"); err != nil {
		t.Fatal(err)
	}
	for {
		from, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer from.Close()
			to, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(from, to)
				_ = from.Close()
			}()
			_, _ = io.Copy(to, from)
			_ = to.Close()
		}()
	}
}

// relay is a process that passes connections on, and can stand still.
type relay struct {
	url string
	cmd *exec.Cmd
}

func startRelay(t *testing.T, to *authsvctest.Server) *relay {
	t.Helper()
	r := &relay{cmd: exec.Command(os.Args[0], "-test.run=^TestRelay$")}
	r.cmd.Env = append(os.Environ(), "AUTHSVC_RELAY_TO="+strings.TrimPrefix(to.URL, "http://"))
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + strings.TrimSpace(string(buf[:n]))
	return r
}

// tellingConn is a connection that calls wrote, if there is one, once something has been
// written. (The WroteRequest of a trace is called before the request leaves its buffer.)
type tellingConn struct {
	net.Conn
	wrote atomic.Pointer[context.CancelFunc]
}

func (c *tellingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if wrote := c.wrote.Load(); wrote != nil {
		(*wrote)()
	}
	return n, err
}

// lateOverKeptAlive is a scenario in which what is between callers and a process stands
// still: each sends a request over a connection that it has used before, gives up, and goes
// on past it. Then the requests arrive, and behind them that their callers have left.
func lateOverKeptAlive(t *testing.T, binary string, stores []string) late {
	t.Helper()
	site := authsvctest.NewSite(t)
	var servers []*authsvctest.Server
	for _, store := range stores {
		s := site.StartBinary(binary, store, authsvctest.Patient...)
		s.WaitReady()
		servers = append(servers, s)
	}
	behind, other := servers[0], servers[len(servers)-1]
	between := startRelay(t, behind)
	holders := newClients(other, size(10, 50))
	var clients []*http.Client
	conns := make([]*tellingConn, len(holders))
	for i, h := range holders {
		c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			conns[i] = &tellingConn{Conn: conn}
			return conns[i], err
		}}}
		clients = append(clients, c)
		h.insist(t.Context(), c, between.url)
	}
	redistest.Pause(t, between.cmd.Process)
	for i, h := range holders {
		ctx, giveUp := context.WithCancel(t.Context())
		reused := false
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
		})
		conns[i].wrote.Store(&giveUp)
		if err := h.refresh(ctx, clients[i], between.url); err == nil || !reused {
			t.Fatalf("a request past a process that stands still: %v, over a connection used before: %v", err, reused)
		}
		for range 3 {
			h.insist(t.Context(), other.Client, other.URL)
		}
	}
	if err := between.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the late requests to be decided", func() bool {
		n := lateAt(t, behind)
		return n.left+n.replays >= len(holders)
	})
	r := lateAt(t, behind)
	r.out = outs(t, holders, other)
	figure(t, "a relay that stood still with a request of each of %d callers, on connections that were kept alive: %d callers were logged out; %d late requests whose caller had left, %d taken for replays",
		len(holders), r.out, r.left, r.replays)
	return r
}

// The network, or a proxy, stands still with requests in it: nobody is logged out.
func TestLateRequestOverAKeptAliveConnection(t *testing.T) {
	sideBySide(t)
	t.Attr("substitute", "A cut network: a relay between the callers and authsvc is stopped.")
	run := func(t *testing.T, stores ...string) {
		if r := lateOverKeptAlive(t, authsvctest.Binary(t), stores); r.out > 0 || r.replays > 0 {
			t.Errorf("%d callers were logged out, and %d replays reported", r.out, r.replays)
		}
	}
	t.Run("memory", func(t *testing.T) { run(t, "memory://") })
	everywhere(t, func(t *testing.T, p place) { run(t, p.url, p.url) })
	control(t, "who has left counts as staying", func(t *testing.T) {
		if r := lateOverKeptAlive(t, authsvctest.BuildPatched(t, authsvctest.LeaversStay), []string{"memory://"}); r.out == 0 || r.replays == 0 {
			t.Errorf("%d callers were logged out, and %d replays reported", r.out, r.replays)
		}
	})
}
