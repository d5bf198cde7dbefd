package authsvctest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/keyring"
	"authsvc/internal/redistest"
)

// The apps of a Site, all with the same secret. Gateway has the role introspect.
const (
	Worker  = "billing-worker"
	Batch   = "orders-batch-01"
	Gateway = "edge-gateway"
	Secret  = "b1lling-Secret-0001"

	// AppsYAML is the apps file of a new Site.
	AppsYAML = `apps:
  - key: billing-worker
    secret: b1lling-Secret-0001
    scopes: [orders.read, orders.write]
  - key: orders-batch-01
    secret: b1lling-Secret-0001
    scopes: [orders.read]
  - key: edge-gateway
    secret: b1lling-Secret-0001
    roles: [introspect]
`
)

// Binary returns the path of authsvc, built as for production, or with the race
// detector if the test has it. It is built once for each test process.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	// Next to the binary of the tests, it outlives the first test that needs it, and go
	// test removes both.
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(exe), "authsvctest-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "authsvc")
	return path, build(path, raceDetector, "")
})

// BuildPlain builds authsvc as for production, even if the test has the race detector,
// and returns its path.
func BuildPlain(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authsvc")
	if err := build(path, false, ""); err != nil {
		t.Fatal(err)
	}
	return path
}

func build(path string, race bool, overlay string) error {
	args := []string{"build", "-tags", "nomsgpack", "-o", path}
	if race {
		args = append(args, "-race")
	}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if out, err := exec.Command("go", append(args, "authsvc/cmd/authsvc")...).CombinedOutput(); err != nil {
		return fmt.Errorf("building authsvc: %w\n%s", err, out)
	}
	return nil
}

// Site holds what the processes of a service share: an apps file and a keyring.
type Site struct {
	t          *testing.T
	Apps, Keys string
}

// NewSite creates the files of a service.
func NewSite(t *testing.T) *Site {
	t.Helper()
	dir := t.TempDir()
	s := &Site{t: t, Apps: filepath.Join(dir, "apps.yaml"), Keys: filepath.Join(dir, "keys.json")}
	s.WriteApps(AppsYAML)
	if err := keyring.New(time.Now()).CreateFile(s.Keys); err != nil {
		t.Fatal(err)
	}
	return s
}

// WriteApps replaces the apps file as an editor does.
func (s *Site) WriteApps(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.Apps+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.Apps+".new", s.Apps); err != nil {
		s.t.Fatal(err)
	}
}

// RotateSoon adds a key to a keyring that signs a second after the newest, so that
// tests need not wait for it.
func RotateSoon(t *testing.T, keys string) {
	t.Helper()
	err := keyring.Rewrite(keys, func(r *keyring.Keyring) (*keyring.Keyring, error) {
		newest := r.Keys()[len(r.Keys())-1]
		next, _, err := r.Rotate(newest.SignsFrom.Add(-keyring.HastyLead+time.Second), true)
		return next, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Patient holds arguments for tests that are not about a slow store: on a busy machine
// a process can wait longer for its turn than a request waits for the store.
var Patient = []string{"--store-timeout", "5s"}

// Server is a running authsvc serve. It ends with the test.
type Server struct {
	t *testing.T

	URL, Admin     string // the URLs of the two listeners
	Cmd            *exec.Cmd
	Stdout, Stderr *Log
	Ended          chan struct{} // closed once the process has exited
	Client         *http.Client
}

// Serve starts authsvc with a store, and waits until it is ready.
func (s *Site) Serve(store string, args ...string) *Server {
	s.t.Helper()
	srv := s.Start(store, args...)
	srv.WaitReady()
	return srv
}

// Start starts authsvc with a store.
func (s *Site) Start(store string, args ...string) *Server {
	s.t.Helper()
	return s.StartBinary(Binary(s.t), store, args...)
}

// StartBinary is like Start, with another build of authsvc.
func (s *Site) StartBinary(binary, store string, args ...string) *Server {
	s.t.Helper()
	return Start(s.t, binary, append([]string{"--store", store, "--apps", s.Apps, "--keys", s.Keys}, args...)...)
}

// Start starts authsvc serve, on free ports, and waits until it listens.
func Start(t *testing.T, binary string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, Stdout: newLog(), Stderr: newLog(), Ended: make(chan struct{})}
	s.Cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
	s.Cmd.Stdout, s.Cmd.Stderr = s.Stdout, s.Stderr
	if err := s.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Cmd.Wait(); close(s.Ended) }()
	t.Cleanup(func() {
		s.stop()
		select {
		case <-s.Ended:
		case <-time.After(time.Minute):
			_ = s.Cmd.Process.Kill()
			<-s.Ended
			t.Errorf("the process did not end:\n%s", s.Stderr.Text())
		}
		if strings.Contains(s.Stderr.Text(), "DATA RACE") {
			t.Errorf("data race:\n%s", s.Stderr.Text())
		}
		if t.Failed() {
			t.Logf("%s logged these warnings:\n%s", s.URL, s.Stderr.warnings())
		}
	})
	e := s.Stderr.Event(t, "serving", s.Ended)
	scheme := "http://"
	if strings.Contains(strings.Join(args, " "), "--tls-cert") {
		scheme = "https://"
	}
	s.URL, s.Admin = scheme+e["listen"].(string), "http://"+e["admin_listen"].(string)
	s.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(s.Client.CloseIdleConnections)
	return s
}

// stop makes the process exit without waiting for balancers: that takes a second
// signal, and one that comes too soon after the first does not count as a second.
func (s *Server) stop() {
	_ = s.Cmd.Process.Signal(os.Interrupt)
	for range 1000 {
		select {
		case <-s.Ended:
			return
		case <-time.After(5 * time.Millisecond):
		}
		if s.Stderr.Count("stopping") > 0 {
			_ = s.Cmd.Process.Signal(os.Interrupt)
			return
		}
	}
}

// WaitEnded waits until the process has exited, and returns its exit status.
func (s *Server) WaitEnded() int {
	s.t.Helper()
	select {
	case <-s.Ended:
	case <-time.After(time.Minute):
		s.t.Fatalf("the process does not end:\n%s", s.Stderr.Text())
	}
	return s.Cmd.ProcessState.ExitCode()
}

// Ready reports whether /readyz answers 200.
func (s *Server) Ready() bool {
	res, err := s.Client.Get(s.Admin + "/readyz")
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// WaitReady waits until /readyz answers 200.
func (s *Server) WaitReady() {
	s.t.Helper()
	redistest.Eventually(s.t, "the process to be ready", s.Ready)
}

// Metrics returns the body of /metrics.
func (s *Server) Metrics() string {
	s.t.Helper()
	res, err := s.Client.Get(s.Admin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := read(res)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(a.Body)
}

// Metric returns the value of a series, and reports whether there is one with this name
// and these labels.
func (s *Server) Metric(series string) (value float64, ok bool) {
	s.t.Helper()
	_, rest, ok := strings.Cut(s.Metrics(), "\n"+series+" ")
	if !ok {
		return 0, false
	}
	text, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.t.Fatalf("%s is %q", series, text)
	}
	return value, true
}

// WaitMetric waits until /metrics has a line.
func (s *Server) WaitMetric(line string) {
	s.t.Helper()
	redistest.Eventually(s.t, line, func() bool { return strings.Contains(s.Metrics(), "\n"+line+"\n") })
}

// PeakMemory returns the peak resident memory of the process, in bytes.
func (s *Server) PeakMemory() int {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		s.t.Fatalf("no VmHWM in %s", status)
	}
	return kib << 10
}

// Answer is the answer to a request.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func read(res *http.Response) (Answer, error) {
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return Answer{res.StatusCode, res.Header, body}, err
}

// Text returns a member of a JSON answer that is a string; "" if there is none of that
// name.
func (a Answer) Text(name string) string {
	var m map[string]any
	_ = json.Unmarshal(a.Body, &m)
	s, _ := m[name].(string)
	return s
}

// Active reports whether an introspection found its token active.
func (a Answer) Active() bool { return bytes.HasPrefix(a.Body, []byte(`{"active":true`)) }

// Pair returns the tokens of a token answer.
func (a Answer) Pair() Pair { return Pair{a.Text("access_token"), a.Text("refresh_token")} }

// Pair is the pair of tokens of a token answer.
type Pair struct{ Access, Refresh string }

// Post sends a form as an app. It may be called from any goroutine.
func (s *Server) Post(path, key string, params ...string) (Answer, error) {
	form := url.Values{"client_id": {key}, "client_secret": {Secret}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	res, err := s.Client.PostForm(s.URL+path, form)
	if err != nil {
		return Answer{}, err
	}
	return read(res)
}

// MustPost is like Post, and fails the test if there is no answer.
func (s *Server) MustPost(path, key string, params ...string) Answer {
	s.t.Helper()
	a, err := s.Post(path, key, params...)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// Issue gets a token with client_credentials.
func (s *Server) Issue(key string, params ...string) Answer {
	s.t.Helper()
	return s.MustPost("/oauth/token", key, append([]string{"grant_type", "client_credentials"}, params...)...)
}

// Refresh exchanges a refresh token for its successor.
func (s *Server) Refresh(key, refreshToken string, params ...string) Answer {
	s.t.Helper()
	return s.MustPost("/oauth/token", key, append([]string{"grant_type", "refresh_token", "refresh_token", refreshToken}, params...)...)
}

// Introspect introspects a token as the gateway.
func (s *Server) Introspect(token string) Answer {
	s.t.Helper()
	return s.MustPost("/oauth/introspect", Gateway, "token", token)
}

// Revoke revokes a token as an app.
func (s *Server) Revoke(key, token string) Answer {
	s.t.Helper()
	return s.MustPost("/oauth/revoke", key, "token", token)
}

// Verify calls /oauth/verify; query is "" or begins with a question mark.
func (s *Server) Verify(token, query string) Answer {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.URL+"/oauth/verify"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := s.Client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := read(res)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// Want fails the test unless an answer has this status and this error code, "" for a
// success.
func Want(t *testing.T, what string, a Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Text("error_code") != code {
		t.Fatalf("%s: %d %s, want %d %s", what, a.Status, a.Body, status, code)
	}
}

// Log keeps what a process writes, and wakes those that wait for it.
type Log struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more *sync.Cond
}

func newLog() *Log {
	l := &Log{}
	l.more = sync.NewCond(&l.mu)
	return l
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.more.Broadcast()
	return l.buf.Write(p)
}

// Text returns everything written so far.
func (l *Log) Text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Event waits for the first log event with a message, and returns it.
func (l *Log) Event(t *testing.T, msg string, ended <-chan struct{}) map[string]any {
	t.Helper()
	var found map[string]any
	redistest.Eventually(t, fmt.Sprintf("the log event %q", msg), func() bool {
		lines := bufio.NewScanner(strings.NewReader(l.Text()))
		for lines.Scan() {
			var m map[string]any
			if json.Unmarshal(lines.Bytes(), &m) == nil && m["msg"] == msg {
				found = m
				return true
			}
		}
		select {
		case <-ended:
			t.Fatalf("the process ended before the log event %q:\n%s", msg, l.Text())
		default:
		}
		return false
	})
	return found
}

// warnings returns the last lines that do not have the level INFO.
func (l *Log) warnings() string {
	const most = 20
	var kept []string
	for line := range strings.Lines(l.Text()) {
		if !strings.Contains(line, `"level":"INFO"`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-most):], "")
}

// Count returns the number of log events with a message.
func (l *Log) Count(msg string) int { return strings.Count(l.Text(), fmt.Sprintf(`"msg":%q`, msg)) }

// Signal sends the process a signal.
func (s *Server) Signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.Cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
