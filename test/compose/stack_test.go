//go:build compose

package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/redistest"
)

const root = "../.."

// stack is a project of docker compose, in a clone of the repository. It is removed at
// the end of its test, with its volumes.
type stack struct {
	t       *testing.T
	dir     string   // a clone of the repository
	compose []string // the compose command
	project string
	env     []string
	url     string // of nginx
	flags   []string
	client  *http.Client
	secrets map[string]string // of the first apps
}

// composes returns the two versions of the compose command. The current one was built
// for these tests.
func composes(t *testing.T) (current, old []string) {
	t.Helper()
	bin, err := filepath.Abs(root + "/.bin/docker-compose")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{bin, "docker-compose"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%s is not installed; 'make deps-compose' installs it: %v", p, err)
		}
	}
	return []string{bin}, []string{"docker-compose"}
}

func newStack(t *testing.T, dir string, compose []string) *stack {
	t.Helper()
	port, id := redistest.FreePort(t), rand.IntN(1<<16)
	net := func(n int) string { return fmt.Sprintf("10.%d.%d", 211+n+id%20*2, id/256) }
	s := &stack{
		t: t, dir: dir, compose: compose, project: fmt.Sprintf("authsvctest%04x", id), url: "http://127.0.0.1:" + port,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second},
	}
	s.env = append(os.Environ(), "AUTHSVC_PORT="+port, "AUTHSVC_ISSUER="+s.url, "AUTHSVC_NET="+net(0), "AUTHSVC_BACK_NET="+net(1),
		"AUTHSVC_VERSION="+s.project, "PROMETHEUS_PORT="+redistest.FreePort(t), "COMPOSE_ANSI=never", "DOCKER_CLI_HINTS=false")
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.command("logs", "--no-color", "--tail", "60").CombinedOutput()
			t.Logf("%s", out)
		}
		s.flags = []string{"--profile", "ha", "--profile", "observability"}
		s.run("down", "--volumes", "--timeout", "5")
		removeImage("authsvc:" + s.project)
		removeImage("authsvc:" + s.project + "-next")
	})
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func removeImage(name string) { _ = exec.Command("docker", "image", "rm", "-f", name).Run() }

func (s *stack) command(args ...string) *exec.Cmd {
	args = slices.Concat(s.compose[1:], s.flags, []string{"-p", s.project}, args)
	cmd := exec.Command(s.compose[0], args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// run runs a command of compose, and returns its output.
func (s *stack) run(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("compose %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// try is like run, but returns an error, with the output of the command.
func (s *stack) try(args ...string) (string, error) {
	var out, all bytes.Buffer
	cmd := s.command(args...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &all), &all
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, all.Bytes())
	}
	return strings.TrimSpace(out.String()), nil
}

// sub runs a part of the test.
func (s *stack) sub(name string, test func(s *stack)) bool {
	s.t.Helper()
	return s.t.Run(name, func(t *testing.T) {
		its := *s
		its.t = t
		test(&its)
		s.secrets, s.env, s.flags = its.secrets, its.env, its.flags
	})
}

// container is what the engine reports about the container of a service.
type container struct {
	ID    string `json:"Id"`
	State struct {
		Pid      int
		Status   string
		ExitCode int
		Health   struct{ Status string }
	}
	Config struct {
		User string
		Env  []string
	}
	HostConfig struct {
		ReadonlyRootfs bool
		CapDrop        []string
		SecurityOpt    []string
		Memory         int64
		LogConfig      struct {
			Type   string
			Config map[string]string
		}
	}
}

func (s *stack) container(service string) container {
	s.t.Helper()
	id := docker(s.t, "ps", "-aq", "--no-trunc", "--filter", "label=com.docker.compose.project="+s.project,
		"--filter", "label=com.docker.compose.service="+service, "--filter", "label=com.docker.compose.oneoff=False")
	if id == "" || strings.Contains(id, "\n") {
		s.t.Fatalf("containers of %s: %q; want one", service, id)
	}
	var all []container
	if err := json.Unmarshal([]byte(docker(s.t, "inspect", id)), &all); err != nil {
		s.t.Fatal(err)
	}
	return all[0]
}

func (s *stack) healthy(services ...string) {
	s.t.Helper()
	for _, service := range services {
		redistest.Eventually(s.t, service+" to be healthy", func() bool {
			c := s.container(service)
			return c.State.Status == "running" && (c.State.Health.Status == "healthy" || service == "demo")
		})
	}
}

// kill kills the main process of a container, like a crash: its restart policy starts
// it again.
func (s *stack) kill(service string) {
	s.t.Helper()
	was := s.container(service)
	if err := syscall.Kill(was.State.Pid, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	redistest.Eventually(s.t, service+" to run again", func() bool {
		c := s.container(service)
		return c.State.Status == "running" && c.State.Pid != 0 && c.State.Pid != was.State.Pid
	})
}

// answer is the answer to a request.
type answer struct {
	status int
	header http.Header
	body   string
	fields map[string]any
}

func (a answer) text(name string) string {
	s, _ := a.fields[name].(string)
	return s
}

// call sends a request to nginx: a POST if there is a form. If app is not empty, it
// authenticates; token is a bearer token.
func (s *stack) call(path, app, token string, form url.Values) (answer, error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+path, body)
	if err != nil {
		return answer{}, err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if app != "" {
		r.SetBasicAuth(app, s.secrets[app])
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("X-Forwarded-For", "203.0.113.9") // forged, and not to be trusted
	r.Header.Set("X-App-Key", "forged-app")
	res, err := s.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	a := answer{status: res.StatusCode, header: res.Header, body: string(text)}
	_ = json.Unmarshal(text, &a.fields)
	return a, err
}

// must is like call, and fails the test unless the answer has this status and this
// code.
func (s *stack) must(what string, status int, code, path, app, token string, form url.Values) answer {
	s.t.Helper()
	a, err := s.call(path, app, token, form)
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	if a.status != status || a.text("error_code") != code {
		s.t.Fatalf("%s: %d %v %s; want %d %s", what, a.status, a.header, a.body, status, code)
	}
	return a
}

// pair is an access and a refresh token.
type pair struct{ access, refresh string }

func (s *stack) issue() pair {
	s.t.Helper()
	a := s.must("issue", 200, "", "/oauth/token", "first-app", "", url.Values{"grant_type": {"client_credentials"}})
	return pair{a.text("access_token"), a.text("refresh_token")}
}

func (s *stack) refresh(p pair) pair {
	s.t.Helper()
	a := s.must("refresh", 200, "", "/oauth/token", "first-app", "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {p.refresh}})
	return pair{a.text("access_token"), a.text("refresh_token")}
}

func (s *stack) active(p pair) bool {
	s.t.Helper()
	a := s.must("introspect", 200, "", "/oauth/introspect", "first-gateway", "", url.Values{"token": {p.access}})
	active, _ := a.fields["active"].(bool)
	return active
}

// good checks that a pair works for everything, and returns the next pair.
func (s *stack) good(p pair) pair {
	s.t.Helper()
	if !s.active(p) {
		s.t.Fatal("the token is not active any more")
	}
	a := s.must("a protected call", 200, "", "/demo/", "", p.access, nil)
	if want := "hello, first-app; your scope is demo.read\n"; a.body != want {
		s.t.Fatalf("the API was told %q; want %q", a.body, want)
	}
	return s.refresh(p)
}

// load is a number of callers that use tokens through nginx, one request after the
// other, until it is stopped; for two minutes at most.
type load struct {
	s    *stack
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	calls  int
	failed []string
	codes  map[string]int // of all failures
	// stalled counts the calls that authsvc itself refused because Redis did not answer
	// in time: on a busy machine, the disk that Redis waits for (appendfsync always)
	// can hang for longer than that. They are not among failed.
	stalled int
}

// unavailable is the code while the store, or authsvc, is unavailable.
const unavailable = "APIG.0613"

const callers = 8

// patientDisk keeps Redis from waiting for the disk at each write if that is not under
// test: while containers are created, a disk can hang for long.
func (s *stack) patientDisk() {
	s.t.Helper()
	s.run("exec", "-T", "redis", "sh", "/etc/redis/cli.sh", "config", "set", "appendfsync", "everysec")
}

func (s *stack) load() *load {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	l := &load{s: s, stop: stop, codes: map[string]int{}}
	s.t.Cleanup(stop)
	for range callers {
		l.wg.Go(func() { l.caller(ctx) })
	}
	l.more(10 * callers)
	return l
}

// more waits until n more calls were answered.
func (l *load) more(n int) {
	l.s.t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.calls
	}
	was := count()
	redistest.Eventually(l.s.t, "more calls to be answered", func() bool { return count() >= was+n })
}

func (l *load) caller(ctx context.Context) {
	do := func(path, app, token string, form url.Values) answer {
		a, err := l.s.call(path, app, token, form)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls++
		if err == nil && a.status == http.StatusOK && (a.fields["active"] == nil || a.fields["active"] == true) {
			return a
		}
		what := fmt.Sprintf("%s: %v, %d %s", path, err, a.status, a.body)
		code := a.text("error_code")
		if code == unavailable && (a.text("error_description") != "" || path == "/demo/") { // nginx itself has none
			l.stalled++
			l.codes[code]++
			return answer{}
		}
		if len(l.failed) < 10 {
			l.failed = append(l.failed, what)
		}
		if err != nil || code == "" {
			code = what
		}
		l.codes[code]++
		return answer{}
	}
	for ctx.Err() == nil {
		a := do("/oauth/token", "first-app", "", url.Values{"grant_type": {"client_credentials"}})
		for range 3 {
			if access := a.text("access_token"); access != "" {
				do("/oauth/introspect", "first-gateway", "", url.Values{"token": {access}})
				do("/demo/", "", access, nil)
				a = do("/oauth/token", "first-app", "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.text("refresh_token")}})
			}
		}
	}
}

// end stops the load, and returns the number of calls.
func (l *load) end() int {
	l.s.t.Helper()
	l.stop()
	l.wg.Wait()
	return l.calls
}

// clean is like end, and fails the test if a call failed, except for one in a thousand
// that Redis did not answer in time: a replica that is used before it is ready refuses
// many more.
func (l *load) clean() {
	l.s.t.Helper()
	n := l.end()
	if len(l.failed) > 0 || l.stalled*1000 > n {
		l.s.t.Errorf("%v of %d calls failed, such as\n%s", l.codes, n, strings.Join(l.failed, "\n"))
	}
	l.s.t.Logf("%d calls, %d failed, %d found Redis too slow", n, len(l.failed), l.stalled)
}
