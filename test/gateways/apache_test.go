package gateways

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// startApache runs Apache httpd with the recipe, edited, and the modules that the recipe needs.
func startApache(t *testing.T, edit func(line string) string) *setup {
	t.Helper()
	apache := redistest.Program(t, "apache2", "/usr/sbin/apache2")
	const modules = "/usr/lib/apache2/modules"
	if _, err := os.Stat(modules + "/mod_auth_openidc.so"); err != nil {
		t.Fatal("libapache2-mod-auth-openidc is not installed; 'make deps' installs it")
	}
	certs := redistest.NewCerts(t)
	ca := worldReadable(t, certs.CAFile)
	s := newSetup(t, certs)
	s.blind = regexp.MustCompile(`^X([^-_])(Token.Expires|Through.Data), (empty|hidden by an empty one)$|^X_(Token_Expires|Through_Data), hidden`)
	s.run(func(addr string) *exec.Cmd {
		dir := t.TempDir()
		site := recipe(t, dir, "apache.conf", edit,
			"/etc/ssl/certs/ca-certificates.crt", ca, "127.0.0.1:8443", s.authsvc.addr(), "127.0.0.1:9000", s.backend.addr(), "127.0.0.1:8000", addr, "THE-SECRET", special)
		text := fmt.Sprintf("ServerRoot %s\nServerName localhost\nPidFile %[1]s/pid\nDefaultRuntimeDir %[1]s\nErrorLog /dev/stderr\nListen %s\nStartServers 1\n", dir, addr)
		for _, m := range []string{"mpm_event", "authn_core", "authz_core", "authz_user", "proxy", "proxy_http", "headers", "setenvif", "auth_openidc"} {
			text += fmt.Sprintf("LoadModule %s_module %s/mod_%[1]s.so\n", m, modules)
		}
		if os.Getuid() == 0 {
			text += "User www-data\nGroup www-data\n"
		}
		main := filepath.Join(dir, "main.conf")
		if err := os.WriteFile(main, []byte(text+"Include "+site+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(apache, "-D", "FOREGROUND", "-f", main)
	})
	return s
}

// worldReadable returns the path of a copy that Apache's user can read: Apache never
// runs as root, and the directories of a test are private.
func worldReadable(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "gateways-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	to := filepath.Join(dir, filepath.Base(path))
	if err := errors.Join(os.WriteFile(to, b, 0o600), os.Chmod(to, 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestApache(t *testing.T) {
	t.Parallel()
	s := startApache(t, nil)
	s.good(func(got received, token string) bool {
		return got.method == http.MethodPost && got.uri == "/oauth/introspect" && got.body == "token="+token
	})

	s.sub("every call is checked", func(s *setup) { s.everyCall(401, "") })

	s.sub("methods", func(s *setup) { s.attacked(methods()) })
	s.sub("targets", func(s *setup) { s.attacked(paths()) })
	s.sub("headers", func(s *setup) { s.attacked(headers()) })

	s.sub("refusals", func(s *setup) {
		for _, b := range s.badTokens() {
			status := http.StatusUnauthorized
			if b.code == "APIG.0304" {
				status = http.StatusForbidden
			}
			a := s.do(call{token: b.token, method: http.MethodPost, body: strings.NewReader("x")})
			s.refused(b.name, a, status, "") // no code: Apache can't pass it on
			if b.token != "" && a.requests != 1 {
				s.t.Errorf("%s: authsvc got %d requests", b.name, a.requests)
			}
			if status == http.StatusUnauthorized && !strings.HasPrefix(a.Header.Get("Www-Authenticate"), "Bearer ") {
				s.t.Errorf("%s: WWW-Authenticate %q", b.name, a.Header.Values("Www-Authenticate"))
			}
		}
		a := s.do(call{header: http.Header{"Authorization": {"Bearer " + s.issue(authsvctest.Worker), "Bearer nonsense"}}})
		s.refused("two tokens", a, 401, "")
	})

	s.sub("answers of the API", func(s *setup) { s.apiAnswers() })

	s.sub("backend stopped", func(s *setup) { s.backendStopped() })

	s.sub("unavailable", func(s *setup) { s.unavailable(401, "", 401, "") })
}

func TestApachePreflight(t *testing.T) {
	t.Parallel()
	startApache(t, withPreflight).attacked(preflights())
}

func TestApacheKeepsToken(t *testing.T) {
	t.Parallel()
	keepsToken(t, startApache, "RequestHeader unset Authorization")
}

func TestApacheHTTP2(t *testing.T) {
	t.Parallel()
	startApache(t, func(line string) string {
		if strings.HasPrefix(line, "<VirtualHost") {
			line = "LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so\n" + line + "Protocols h2c http/1.1\n"
		}
		return withPreflight(line)
	}).overHTTP2()
}
