package gateways

import (
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// startHAProxy runs HAProxy with the recipe, edited.
func startHAProxy(t *testing.T, edit func(line string) string) *setup {
	t.Helper()
	haproxy := redistest.Program(t, "haproxy", "/usr/sbin/haproxy")
	s := newSetup(t, nil)
	s.trailers = true
	s.blind = regexp.MustCompile(`^"/orders/7\\t"$`)
	s.run(func(addr string) *exec.Cmd {
		dir, check := t.TempDir(), redistest.FreeAddr(t)
		script := recipe(t, dir, "haproxy-authsvc.lua", edit, "127.0.0.1:8001", check)
		file := recipe(t, dir, "haproxy.cfg", edit,
			"/etc/haproxy/haproxy-authsvc.lua", script, "127.0.0.1:8080", s.authsvc.addr(),
			"127.0.0.1:9000", s.backend.addr(), "127.0.0.1:8000", addr, "127.0.0.1:8001", check)
		return exec.Command(haproxy, "-db", "-f", file)
	})
	return s
}

func TestHAProxy(t *testing.T) {
	t.Parallel()
	s := startHAProxy(t, nil)
	s.good(verifies("scope=orders.read"))

	s.sub("every call is checked", func(s *setup) { s.everyCall(400, "APIG.2203") })

	s.sub("paths", func(s *setup) {
		for _, path := range []string{"/", "/other", "/orders"} {
			if a := s.do(call{token: s.issue(authsvctest.Worker), path: path}); a.Status != 404 || a.requests != 0 || a.reached != 0 {
				s.t.Errorf("%s: %d, authsvc got %d requests, the backend %d times", path, a.Status, a.requests, a.reached)
			}
		}
		s.refused("//", s.do(call{token: s.issue(authsvctest.Worker), path: "/orders//7"}), 400, "APIG.0201")
	})

	s.sub("methods", func(s *setup) { s.attacked(methods()) })
	s.sub("targets", func(s *setup) { s.attacked(paths()) })
	s.sub("headers", func(s *setup) { s.attacked(headers()) })

	// Ours are added to the caller's, however much room these take.
	s.sub("many headers", func(s *setup) {
		token := s.issue(authsvctest.Worker, "through_data", strings.Repeat("\U0001F600", 300))
		passed, refused := false, false
		for size := 1000; size < 32_000; size += 1000 {
			reached := s.backend.count()
			status := s.raw(fmt.Sprintf("GET /orders/7 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-Large: %s\r\n\r\n", token, strings.Repeat("x", size)))
			switch n := s.backend.count() - reached; {
			case n == 0 && (status == 0 || status/100 == 4):
				refused = true
			case n == 1 && status == http.StatusOK:
				passed = true
				s.identity("many headers", s.backend.last(s.t), authsvctest.Worker, "orders.read orders.write", strings.Repeat("\U0001F600", 300))
			default:
				s.t.Errorf("%d bytes of headers: %d, the backend got %d requests", size, status, n)
			}
		}
		if !passed || !refused {
			s.t.Errorf("some passed: %t; some were refused: %t", passed, refused)
		}
	})

	s.sub("refusals", func(s *setup) {
		for _, b := range s.badTokens() {
			a := s.do(call{token: b.token, method: http.MethodPost, body: strings.NewReader("x")})
			s.refused(b.name, a, b.status, b.code)
			if a.requests != 1 || a.Text("error_description") == "" {
				s.t.Errorf("%s: authsvc got %d requests; %s", b.name, a.requests, a.Body)
			}
			if b.status == http.StatusUnauthorized && !strings.HasPrefix(a.Header.Get("Www-Authenticate"), `Bearer realm="authsvc"`) {
				s.t.Errorf("%s: WWW-Authenticate %q", b.name, a.Header.Values("Www-Authenticate"))
			}
		}
		a := s.do(call{header: http.Header{"Authorization": {"Bearer " + s.issue(authsvctest.Worker), "Bearer nonsense"}}})
		s.refused("two tokens", a, 400, "APIG.2206")
	})

	s.sub("answers of the API", func(s *setup) { s.apiAnswers() })

	s.sub("backend stopped", func(s *setup) { s.backendStopped() })

	s.sub("unavailable", func(s *setup) { s.unavailable(503, "APIG.0613", 503, "APIG.0613") })
}

func TestHAProxyPreflight(t *testing.T) {
	t.Parallel()
	startHAProxy(t, withPreflight).attacked(preflights())
}

func TestHAProxyKeepsToken(t *testing.T) {
	t.Parallel()
	keepsToken(t, startHAProxy, "http-request del-header authorization")
}

func TestHAProxyHTTP2(t *testing.T) {
	t.Parallel()
	startHAProxy(t, func(line string) string {
		return withPreflight(strings.Replace(line, " # in production :443", " proto h2 # in production :443", 1))
	}).overHTTP2()
}
