//go:build traefik

package gateways

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// startTraefik runs the Traefik that the variable TRAEFIK names with the recipe, edited, and
// the static configuration that the recipe asks for.
func startTraefik(t *testing.T, edit func(line string) string) *setup {
	t.Helper()
	name := os.Getenv("TRAEFIK")
	traefik, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("TRAEFIK must name Traefik's program: %v", err)
	}
	s := newSetup(t, nil)
	s.trailers = true // docs/gateways.md says that it may pass them on
	s.run(func(addr string) *exec.Cmd {
		dir, check := t.TempDir(), redistest.FreeAddr(t)
		file := recipe(t, dir, "traefik.yml", edit,
			"127.0.0.1:8080", s.authsvc.addr(), "127.0.0.1:9000", s.backend.addr(), "127.0.0.1:8000", addr, "127.0.0.1:8001", check)
		static := filepath.Join(dir, "static.yml")
		if err := os.WriteFile(static, []byte(staticTraefik(t, file)), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(traefik, "--configFile="+static)
	})
	// Traefik listens before it has read the routers.
	redistest.Eventually(t, "the routers", func() bool { return s.do(call{}).Status == http.StatusUnauthorized })
	return s
}

// staticTraefik returns the static configuration that stands in the comment at the top of
// the recipe, with the recipe as its dynamic one.
func staticTraefik(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		if inside, found := strings.CutPrefix(line, "#   "); found && (text.Len() > 0 || inside == "entryPoints:\n") {
			text.WriteString(inside)
		} else if text.Len() > 0 {
			break
		}
	}
	if text.Len() == 0 {
		t.Fatal("the recipe has no static configuration")
	}
	fmt.Fprintf(&text, "providers:\n  file:\n    filename: %s\n", file)
	return text.String()
}

func TestTraefik(t *testing.T) {
	t.Parallel()
	s := startTraefik(t, nil)
	s.good(verifies("scope=orders.read"))

	s.sub("every call is checked", func(s *setup) { s.everyCall(400, "APIG.2203") })
	s.sub("methods", func(s *setup) { s.attacked(methods()) })
	s.sub("targets", func(s *setup) { s.attacked(paths()) })
	s.sub("headers", func(s *setup) { s.attacked(headers()) })

	s.sub("refusals", func(s *setup) {
		for _, b := range s.badTokens() {
			a := s.do(call{token: b.token, method: http.MethodPost, body: strings.NewReader("x")})
			s.refused(b.name, a, b.status, b.code)
			if b.status == http.StatusUnauthorized && !strings.HasPrefix(a.Header.Get("Www-Authenticate"), `Bearer realm="authsvc"`) {
				s.t.Errorf("%s: WWW-Authenticate %q", b.name, a.Header.Values("Www-Authenticate"))
			}
		}
	})

	s.sub("answers of the API", func(s *setup) { s.apiAnswers() })

	s.sub("backend stopped", func(s *setup) { s.backendStopped() })

	s.sub("unavailable", func(s *setup) {
		fresh, hung, lost := s.issue(authsvctest.Worker), s.issue(authsvctest.Worker), s.issue(authsvctest.Worker)
		s.redis.Pause()
		s.refused("store unavailable", s.do(call{token: fresh}), 503, "APIG.0613")
		s.redis.Resume()
		resume := s.authsvc.hang()
		a := s.do(call{token: hung})
		resume()
		s.refused("no answer", a, http.StatusGatewayTimeout, "")
		s.authsvc.CloseClientConnections()
		s.authsvc.Close()
		s.refused("authsvc stopped", s.do(call{token: lost}), http.StatusBadGateway, "")
	})
}

func TestTraefikKeepsToken(t *testing.T) {
	t.Parallel()
	keepsToken(t, startTraefik, `Authorization: "" # remove`)
}
