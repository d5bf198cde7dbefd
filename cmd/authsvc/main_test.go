package main

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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"authsvc/internal/redistest"
)

// asCommand, set in its environment, makes the test binary the command itself.
const asCommand = "TEST_AUTHSVC_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"authsvc": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// The apps of the tests.
const (
	worker  = "billing-worker"
	batch   = "orders-batch-01"
	gateway = "edge-gateway"
	secret  = "b1lling-Secret-0001"

	appsYAML = `apps:
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

// site is what the processes of one service share.
type site struct {
	t          *testing.T
	apps, keys string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, apps: filepath.Join(dir, "apps.yaml"), keys: filepath.Join(dir, "keys.json")}
	s.writeApps(appsYAML)
	if status := run([]string{"keys", "init", "--keys", s.keys}, process{stdout: io.Discard, stderr: os.Stderr}); status != 0 {
		t.Fatalf("keys init: status %d", status)
	}
	return s
}

// writeApps replaces the apps file, as an editor does.
func (s *site) writeApps(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.apps+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.apps+".new", s.apps); err != nil {
		s.t.Fatal(err)
	}
}

// server is a running authsvc.
type server struct {
	t          *testing.T
	cmd        *exec.Cmd
	url, admin string
	stdout     *logFile
	stderr     *logFile
	ended      chan struct{}
	client     *http.Client
}

// serve starts authsvc serve on a store, on free ports, and waits until it is ready.
func (s *site) serve(store string, args ...string) *server {
	s.t.Helper()
	srv := start(s.t, os.Args[0], append([]string{"--store", store, "--apps", s.apps, "--keys", s.keys}, args...)...)
	srv.waitReady()
	return srv
}

func start(t *testing.T, binary string, args ...string) *server {
	t.Helper()
	s := &server{t: t, stdout: newLogFile(), stderr: newLogFile(), ended: make(chan struct{})}
	s.cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
	s.cmd.Env = append(os.Environ(), asCommand+"=1")
	s.cmd.Stdout, s.cmd.Stderr = s.stdout, s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(os.Interrupt)
		_ = s.cmd.Process.Signal(os.Interrupt) // the second does not wait for balancers
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.ended
			t.Errorf("the process did not end:\n%s", s.stderr.text())
		}
		if strings.Contains(s.stderr.text(), "DATA RACE") {
			t.Errorf("data race:\n%s", s.stderr.text())
		}
	})
	e := s.stderr.event(t, "serving", s.ended)
	scheme := "http://"
	if strings.Contains(strings.Join(args, " "), "--tls-cert") {
		scheme = "https://"
	}
	s.url, s.admin = scheme+e["listen"].(string), "http://"+e["admin_listen"].(string)
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func (s *server) ready() bool {
	res, err := s.client.Get(s.admin + "/readyz")
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (s *server) waitReady() {
	s.t.Helper()
	redistest.Eventually(s.t, "the process to be ready", s.ready)
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) text(name string) string {
	var m map[string]any
	_ = json.Unmarshal(a.body, &m)
	s, _ := m[name].(string)
	return s
}

func (a answer) active() bool { return bytes.HasPrefix(a.body, []byte(`{"active":true`)) }

func (a answer) pair() pair { return pair{a.text("access_token"), a.text("refresh_token")} }

// pair is what a token answer hands out.
type pair struct{ access, refresh string }

// post sends a form as an app. It is safe to call from any goroutine.
func (s *server) post(path, key string, params ...string) (answer, error) {
	form := url.Values{"client_id": {key}, "client_secret": {secret}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	res, err := s.client.PostForm(s.url+path, form)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body}, err
}

func (s *server) mustPost(path, key string, params ...string) answer {
	s.t.Helper()
	a, err := s.post(path, key, params...)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *server) issue(key string, params ...string) answer {
	s.t.Helper()
	return s.mustPost("/oauth/token", key, append([]string{"grant_type", "client_credentials"}, params...)...)
}

func (s *server) refresh(key, refreshToken string, params ...string) answer {
	s.t.Helper()
	return s.mustPost("/oauth/token", key, append([]string{"grant_type", "refresh_token", "refresh_token", refreshToken}, params...)...)
}

func (s *server) introspect(token string) answer {
	s.t.Helper()
	return s.mustPost("/oauth/introspect", gateway, "token", token)
}

func (s *server) revoke(key, token string) answer {
	s.t.Helper()
	return s.mustPost("/oauth/revoke", key, "token", token)
}

func (s *server) verify(token, query string) answer {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.url+"/oauth/verify"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, body}
}

// want checks that an answer is a success, or the row of a code.
func want(t *testing.T, what string, a answer, status int, code string) {
	t.Helper()
	if a.status != status || a.text("error_code") != code {
		t.Fatalf("%s: %d %s, want %d %s", what, a.status, a.body, status, code)
	}
}

// logFile keeps what a process writes, and wakes who waits for it.
type logFile struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more *sync.Cond
}

func newLogFile() *logFile {
	l := &logFile{}
	l.more = sync.NewCond(&l.mu)
	return l
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.more.Broadcast()
	return l.buf.Write(p)
}

func (l *logFile) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// event waits for the first log event with a message.
func (l *logFile) event(t *testing.T, msg string, ended <-chan struct{}) map[string]any {
	t.Helper()
	var found map[string]any
	redistest.Eventually(t, fmt.Sprintf("the log event %q", msg), func() bool {
		lines := bufio.NewScanner(strings.NewReader(l.text()))
		for lines.Scan() {
			var m map[string]any
			if json.Unmarshal(lines.Bytes(), &m) == nil && m["msg"] == msg {
				found = m
				return true
			}
		}
		select {
		case <-ended:
			t.Fatalf("the process ended before the log event %q:\n%s", msg, l.text())
		default:
		}
		return false
	})
	return found
}

// count is how many log events have a message.
func (l *logFile) count(msg string) int { return strings.Count(l.text(), fmt.Sprintf(`"msg":%q`, msg)) }

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
