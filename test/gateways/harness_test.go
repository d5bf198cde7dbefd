package gateways

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// The apps of a test, besides those of authsvctest.
const (
	quick    = "quick-worker"  // its access tokens live for a second
	frozen   = "frozen-worker" // badTokens freezes it
	gone     = "former-worker" // badTokens removes it
	unscoped = "other-worker"  // has other scopes than the recipes require
	// A secret with every special character, and with parts that look escaped.
	special = "a%21b!#$@%25c"

	moreApps = `  - key: quick-worker
    secret: b1lling-Secret-0001
    scopes: [orders.read]
    access_ttl: 1s
  - key: frozen-worker
    secret: b1lling-Secret-0001
    scopes: [orders.read]
  - key: former-worker
    secret: b1lling-Secret-0001
    scopes: [orders.read]
  - key: other-worker
    secret: b1lling-Secret-0001
    scopes: [invoices.read]
  - key: apache-gateway
    secret: "` + special + `"
    roles: [introspect]
`
)

// retryAfter replaces the value that authsvc answers: no gateway would make it up.
const retryAfter = "17"

// hangUp is the end of the paths at which the backend closes the connection.
const hangUp = "hang-up"

// setup is the environment of a gateway.
type setup struct {
	*authsvctest.Server
	t       *testing.T
	site    *authsvctest.Site
	redis   *redistest.Server
	authsvc *recorder // forwards the gateway's requests to authsvc
	backend *recorder // the API behind the gateway
	gateway string    // its URL
	client  *http.Client

	blind    *regexp.Regexp // the attacks that docs/gateways.md says the gateway doesn't see
	trailers bool           // it passes on trailers
}

// newSetup starts everything but the gateway. authsvc has its own Redis, and uses TLS
// to the gateway if there are certificates.
func newSetup(t *testing.T, certs *redistest.Certs) *setup {
	t.Helper()
	r, site := redistest.Start(t), authsvctest.NewSite(t)
	site.WriteApps(authsvctest.AppsYAML + moreApps)
	s := &setup{t: t, redis: r, site: site, Server: site.Serve(r.URL(), "--drain", "0s")}
	s.client = s.Client
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.authsvc = newRecorder(t, certs, &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: s.Client.Transport,
		ModifyResponse: func(r *http.Response) error {
			if r.Header.Get("Retry-After") != "" {
				r.Header.Set("Retry-After", retryAfter)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	})
	s.backend = newRecorder(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, hangUp) {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Backend", "yes")
		if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
			w.WriteHeader(status)
		}
		fmt.Fprint(w, "orders")
	}))
	return s
}

// sub runs a subtest.
func (s *setup) sub(name string, test func(s *setup)) {
	s.t.Run(name, func(t *testing.T) {
		its := *s
		its.t = t
		test(&its)
	})
}

// received is a request that a recorder got.
type received struct {
	method, uri, body string
	header            http.Header
	length            int64
}

// recorder is an HTTP server on loopback that records its requests.
type recorder struct {
	*httptest.Server
	tap      *tap
	mu       sync.Mutex
	requests []received
	hung     chan struct{} // nothing is answered until it is closed
}

func newRecorder(t *testing.T, certs *redistest.Certs, next http.Handler) *recorder {
	t.Helper()
	rec := &recorder{hung: make(chan struct{})}
	close(rec.hung)
	rec.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec.mu.Lock()
		rec.requests = append(rec.requests, received{r.Method, r.RequestURI, string(body), r.Header.Clone(), r.ContentLength})
		hung := rec.hung
		rec.mu.Unlock()
		select {
		case <-hung:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	rec.tap = &tap{Listener: rec.Listener}
	rec.Listener = rec.tap
	// Don't log that a gateway closes a connection.
	rec.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if certs == nil {
		rec.Start()
	} else {
		pair, err := tls.LoadX509KeyPair(certs.ServerCertFile, certs.ServerKeyFile)
		if err != nil {
			t.Fatal(err)
		}
		rec.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		rec.StartTLS()
	}
	t.Cleanup(func() {
		rec.CloseClientConnections()
		rec.Close()
	})
	return rec
}

// addr returns the host:port of the server.
func (rec *recorder) addr() string { return rec.Listener.Addr().String() }

// count returns the number of requests so far.
func (rec *recorder) count() int {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return len(rec.requests)
}

// last returns the last request.
func (rec *recorder) last(t *testing.T) received {
	t.Helper()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.requests) == 0 {
		t.Fatal("no request came")
	}
	return rec.requests[len(rec.requests)-1]
}

// hang makes it accept requests and answer none, until the returned function is called.
func (rec *recorder) hang() (resume func()) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	hung := make(chan struct{})
	rec.hung = hung
	return sync.OnceFunc(func() { close(hung) })
}

// recipe reads a file of deploy/gateways, replaces the addresses and paths of the
// recipe with those of the test, and writes it to dir. Each must occur. edit, if it is not
// nil, changes each line.
func recipe(t *testing.T, dir, name string, edit func(line string) string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "gateways", name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %q to replace with %q", name, replace[i], replace[i+1])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	if edit != nil {
		var edited strings.Builder
		for line := range strings.Lines(text) {
			edited.WriteString(edit(line))
		}
		text = edited.String()
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// withPreflight makes active what a recipe marks as [preflight], as an operator would.
func withPreflight(line string) string {
	if marked, _, found := strings.Cut(line, "# [preflight]"); found {
		return strings.Replace(marked, "#", "", 1) + "\n"
	}
	return line
}

// run runs a gateway in the foreground until the test ends, and waits until it accepts
// connections at the address that was passed to launch. launch writes the configuration
// and returns the command.
func (s *setup) run(launch func(addr string) *exec.Cmd) {
	s.t.Helper()
	var said []byte
	for range 5 { // another process can take the port after it was found to be free
		addr := redistest.FreeAddr(s.t)
		cmd := launch(addr)
		log := filepath.Join(s.t.TempDir(), "output")
		out, err := os.Create(log)
		if err != nil {
			s.t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = out, out
		err = cmd.Start()
		out.Close()
		if err != nil {
			s.t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		s.t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				_ = cmd.Process.Kill()
				<-ended
			}
			if s.t.Failed() {
				b, _ := os.ReadFile(log)
				s.t.Logf("the gateway said:\n%s", b)
			}
		})
		up, over := false, false
		redistest.Eventually(s.t, "the gateway to listen", func() bool {
			select {
			case <-ended:
				over = true
			default:
				c, err := net.Dial("tcp", addr)
				if up = err == nil; up {
					c.Close()
				}
			}
			return up || over
		})
		if up {
			s.gateway = "http://" + addr
			return
		}
		said, _ = os.ReadFile(log)
	}
	s.t.Fatalf("the gateway does not start:\n%s", said)
}

// call is a request to the gateway: a GET of /orders/7, except for what is given.
type call struct {
	token  string // "" for none
	method string
	path   string
	body   io.Reader
	header http.Header
}

// answer is the answer to a call, and the number of requests that the call led to.
type answer struct {
	authsvctest.Answer
	proto    int // the major version of HTTP
	requests int // to authsvc
	reached  int // to the backend
}

// do sends a request through the gateway.
func (s *setup) do(c call) answer {
	s.t.Helper()
	if c.method == "" {
		c.method = http.MethodGet
	}
	if c.path == "" {
		c.path = "/orders/7"
	}
	// No gateway takes that long, so reaching this timeout is a failure.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, c.method, s.gateway+c.path, c.body)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, values := range c.header {
		r.Header[name] = values
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	requests, reached := s.authsvc.count(), s.backend.count()
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	return answer{
		authsvctest.Answer{Status: res.StatusCode, Header: res.Header, Body: body},
		res.ProtoMajor, s.authsvc.count() - requests, s.backend.count() - reached,
	}
}

// passed checks that a call reached the backend, and its answer the caller.
func (s *setup) passed(what string, a answer) {
	s.t.Helper()
	if a.Status != http.StatusOK || string(a.Body) != "orders" || a.Header.Get("X-Backend") != "yes" || a.reached != 1 {
		s.t.Fatalf("%s: %d %v %s, the backend got %d requests", what, a.Status, a.Header, a.Body, a.reached)
	}
}

// refused checks that a call did not reach the backend, and that the caller got the
// row: its status and, if the gateway can pass it on, its code.
func (s *setup) refused(what string, a answer, status int, code string) {
	s.t.Helper()
	if a.reached != 0 {
		s.t.Errorf("%s: the backend got %d requests", what, a.reached)
	}
	if a.Status != status || a.Text("error_code") != code {
		s.t.Fatalf("%s: %d %v %s; want %d %s", what, a.Status, a.Header, a.Body, status, code)
	}
	if code == "" {
		return
	}
	if a.Text("error_msg") == "" || a.Text("request_id") == "" || a.Text("request_id") != a.Header.Get("X-Request-Id") || a.Header.Get("Content-Type") != "application/json" {
		s.t.Errorf("%s: %v %s; want a message and the request id", what, a.Header, a.Body)
	}
}

// issue returns a new access token of an app.
func (s *setup) issue(key string, params ...string) string {
	s.t.Helper()
	a := s.Issue(key, params...)
	authsvctest.Want(s.t, "issue", a, http.StatusOK, "")
	return a.Pair().Access
}

// bad is a bad token and its row.
type bad struct {
	name, token string
	status      int
	code        string
}

// badTokens returns a token of every kind that no gateway may let pass. It changes the
// apps, so call it after everything that needs them.
func (s *setup) badTokens() []bad {
	s.t.Helper()
	expired, revoked := s.issue(quick), s.issue(authsvctest.Worker)
	ofFrozen, ofGone := s.issue(frozen), s.issue(gone)
	good := s.Issue(authsvctest.Worker).Pair()

	authsvctest.Want(s.t, "revoke", s.Revoke(authsvctest.Worker, revoked), http.StatusOK, "")
	apps := strings.Replace(authsvctest.AppsYAML+moreApps, "key: "+frozen, "key: "+frozen+"\n    state: frozen", 1)
	removed := "  - key: " + gone + "\n    secret: b1lling-Secret-0001\n    scopes: [orders.read]\n"
	if !strings.Contains(apps, removed) {
		s.t.Fatal("the apps have changed")
	}
	s.site.WriteApps(strings.Replace(apps, removed, "", 1))
	for token, code := range map[string]string{expired: "APIG.1002", ofFrozen: "APIG.0502", ofGone: "APIG.1004"} {
		redistest.Eventually(s.t, "a token to be "+code, func() bool { return s.Introspect(token).Text("error_code") == code })
	}
	// Change the end of the MAC.
	forged := good.Access[:len(good.Access)-4] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, good.Access[len(good.Access)-4:])
	return []bad{
		{"missing", "", 401, "APIG.0305"},
		{"junk", "nonsense", 400, "APIG.2203"},
		{"forged", forged, 400, "APIG.2203"},
		{"a refresh token", good.Refresh, 400, "APIG.2203"},
		{"expired", expired, 401, "APIG.1002"},
		{"revoked", revoked, 400, "APIG.2203"},
		{"of a frozen app", ofFrozen, 405, "APIG.0502"},
		{"of a removed app", ofGone, 401, "APIG.1004"},
		{"without the scope", s.issue(unscoped), 403, "APIG.0304"},
	}
}

// forgedHeaders returns headers that a caller may send to be taken for somebody else.
func forgedHeaders() http.Header {
	return http.Header{
		"X-App-Key":       {"admin-app", "another-app"},
		"X-App-Scope":     {"everything"},
		"X-Token-Expires": {"9999999999"},
		"X-Through-Data":  {"tenant-0"},
		"X_App_Key":       {"admin-app"},
		"X_App_Scope":     {"everything"},
		"X_Token_Expires": {"9999999999"},
		"X_Through_Data":  {"tenant-0"},
	}
}
