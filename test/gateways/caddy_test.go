package gateways

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"

	"authsvc/internal/redistest"
)

// startCaddy runs Caddy with the recipe, edited.
func startCaddy(t *testing.T, edit func(line string) string) *setup {
	t.Helper()
	caddy := redistest.Program(t, filepath.Join("..", "..", ".bin", "caddy"))
	s := newSetup(t, nil)
	s.trailers = true
	s.run(func(addr string) *exec.Cmd {
		dir := t.TempDir()
		file := recipe(t, dir, "Caddyfile", edit,
			"127.0.0.1:8080", s.authsvc.addr(), "127.0.0.1:9000", s.backend.addr(), "127.0.0.1:8000", addr)
		cmd := exec.Command(caddy, "run", "--config", file, "--adapter", "caddyfile")
		// By default, all share the port of the admin endpoint; this socket is
		// separate.
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "CADDY_ADMIN=unix/"+dir+"/admin.sock")
		return cmd
	})
	return s
}

func TestCaddy(t *testing.T) {
	t.Parallel()
	s := startCaddy(t, nil)
	s.good(verifies("scope=orders.read"))

	s.sub("every call is checked", func(s *setup) { s.everyCall(400, "APIG.2203") })

	s.sub("paths", func(s *setup) {
		for _, path := range []string{"/", "/other", "/orders"} {
			if a := s.do(call{token: s.issue(authsvctest.Worker), path: path}); a.Status != 404 || a.requests != 0 || a.reached != 0 {
				s.t.Errorf("%s: %d, authsvc got %d requests, the backend %d times", path, a.Status, a.requests, a.reached)
			}
		}
	})

	s.sub("methods", func(s *setup) { s.attacked(methods()) })
	s.sub("targets", func(s *setup) { s.attacked(paths()) })
	s.sub("headers", func(s *setup) { s.attacked(headers()) })

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

func TestCaddyPreflight(t *testing.T) {
	t.Parallel()
	startCaddy(t, withPreflight).attacked(preflights())
}

func TestCaddyKeepsToken(t *testing.T) {
	t.Parallel()
	keepsToken(t, startCaddy, "header_up -Authorization")
}

func TestCaddyHTTP2(t *testing.T) {
	t.Parallel()
	startCaddy(t, func(line string) string {
		if strings.HasPrefix(line, "# authsvc in front of an API") {
			line = "{\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n}\n" + line
		}
		return withPreflight(line)
	}).overHTTP2()
}
