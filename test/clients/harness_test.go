package clients

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// secrets holds secrets that clients may mangle on their way to the service: with
// characters that need escaping, and with parts that already look escaped.
var secrets = map[string]string{
	"plain":      "b1lling-Secret-0001",
	"special":    "a%21b!#$@%25c",
	"no-escape":  "9%zz%_%-100%",
	"all-escape": "z%41%42%43%44",
}

// The keys of a frozen app, and of one whose tokens live for a second. Their secret is
// the plain one.
const (
	frozen = "frozen-worker"
	short  = "short-worker"
)

// service is a running authsvc with two apps for each of the secrets, a frozen one and a
// short-lived one, and the two that a test uses.
type service struct {
	*authsvctest.Server
	t     *testing.T
	site  *authsvctest.Site
	redis *redistest.Server
	seen  *int // the number of log events that requests has returned

	worker, gateway, secret string
}

// serve starts authsvc with its own Redis. The test uses the apps of the secret with
// this name.
func serve(t *testing.T, name string) *service {
	t.Helper()
	site, apps := authsvctest.NewSite(t), "apps:\n"
	for name, secret := range secrets {
		apps += fmt.Sprintf("  - {key: %s-worker, secret: %q, scopes: [orders.read, orders.write]}\n", name, secret)
		apps += fmt.Sprintf("  - {key: %s-gateway, secret: %q, roles: [introspect]}\n", name, secret)
	}
	apps += fmt.Sprintf("  - {key: %s, secret: %q, state: frozen}\n", frozen, secrets["plain"])
	apps += fmt.Sprintf("  - {key: %s, secret: %q, access_ttl: 1s, refresh_ttl: 1s}\n", short, secrets["plain"])
	site.WriteApps(apps)
	r := redistest.Start(t)
	s := &service{Server: site.Serve(r.URL(), "--drain", "0s"), site: site, redis: r, seen: new(int)}
	return s.with(t, name)
}

// with returns the same service for another test, with the apps of another secret.
func (s *service) with(t *testing.T, name string) *service {
	return &service{
		Server: s.Server, t: t, site: s.site, redis: s.redis, seen: s.seen,
		worker: name + "-worker", gateway: name + "-gateway", secret: secrets[name],
	}
}

// env returns the environment that docs/clients.md expects.
func (s *service) env(extra ...string) []string {
	return append(append(os.Environ(),
		"AUTHSVC_URL="+s.URL, "CLIENT_ID="+s.worker, "CLIENT_SECRET="+s.secret,
		"GATEWAY_ID="+s.gateway, "GATEWAY_SECRET="+s.secret), extra...)
}

// requests waits for the log events of n more requests, and returns all events since
// its last call, in order: endpoint, app and code.
func (s *service) requests(n int) []string {
	s.t.Helper()
	var list []string
	redistest.Eventually(s.t, fmt.Sprintf("%d more requests in the log", n), func() bool {
		list = nil
		for lines := bufio.NewScanner(strings.NewReader(s.Stderr.Text())); lines.Scan(); {
			var e struct{ Msg, Endpoint, App, Code string }
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Msg == "request" {
				list = append(list, e.Endpoint+" "+e.App+" "+e.Code)
			}
		}
		return len(list) >= *s.seen+n
	})
	list = list[*s.seen:]
	*s.seen += len(list)
	return list
}

// wantRequests checks that these were the requests since the last call.
func (s *service) wantRequests(want ...string) {
	s.t.Helper()
	if got := s.requests(len(want)); !slices.Equal(got, want) {
		s.t.Errorf("the requests were\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// introspect introspects a token as the gateway.
func (s *service) introspect(token string) authsvctest.Answer {
	s.t.Helper()
	a := s.MustPost("/oauth/introspect", s.gateway, "client_secret", s.secret, "token", token)
	authsvctest.Want(s.t, "introspect", a, 200, a.Text("error_code"))
	s.requests(1)
	return a
}

// snippet returns a piece of code of docs/clients.md by the name in the comment before
// it. Its last line ends with a newline.
func snippet(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)<!-- run: "+name+" -->\n```[a-z]+\n(.*?\n)```\n").FindAllStringSubmatch(string(b), -1)
	if len(found) != 1 {
		t.Fatalf("docs/clients.md has %d pieces called %q", len(found), name)
	}
	return found[0][1]
}

// file writes a piece of docs/clients.md to a file of the test, and returns its path.
func file(t *testing.T, name, as string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), as)
	if err := os.WriteFile(path, []byte(snippet(t, name)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a command, returns its output, and reports whether it succeeded.
func run(t *testing.T, env []string, name string, args ...string) (output string, ok bool) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v; 'make deps' installs it", name, err)
	}
	return string(out), err == nil
}

// tokens returns the access tokens in a text, in order.
func tokens(text string) []string {
	return regexp.MustCompile(`\bat_[A-Za-z0-9_-]{76}`).FindAllString(text, -1)
}

// python is the system's Python, with the libraries from the system's packages.
const python = "/usr/bin/python3"

func needPython(t *testing.T) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import authlib, requests_oauthlib").CombinedOutput(); err != nil {
		t.Fatalf("python3-authlib or python3-requests-oauthlib is not installed; 'make deps' installs it\n%s", out)
	}
}
