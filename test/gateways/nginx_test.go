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

// startNginx runs nginx with the recipe, edited, as Debian's /etc/nginx/nginx.conf would
// include it.
func startNginx(t *testing.T, edit func(line string) string) *setup {
	t.Helper()
	nginx := redistest.Program(t, "nginx", "/usr/sbin/nginx")
	s := newSetup(t, nil)
	s.run(func(addr string) *exec.Cmd {
		dir := t.TempDir()
		site := recipe(t, dir, "nginx.conf", edit,
			"127.0.0.1:8080", s.authsvc.addr(), "127.0.0.1:9000", s.backend.addr(),
			"127.0.0.1:8000", addr, "/run/nginx-authsvc", filepath.Join(dir, "cache"))
		recipe(t, dir, "nginx-authsvc.conf", edit) // the site includes it from the directory of main.conf
		user := ""
		if os.Getuid() == 0 {
			user = "user root;"
		}
		main := filepath.Join(dir, "main.conf")
		text := fmt.Sprintf("daemon off; %s worker_processes 1; pid %[2]s/pid; error_log stderr;\nevents {}\nhttp {\naccess_log off;\n", user, dir)
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			text += fmt.Sprintf("%s_temp_path %s/%[1]s;\n", kind, dir)
		}
		if err := os.WriteFile(main, []byte(text+"include "+site+";\n}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(nginx, "-c", main, "-e", "stderr")
	})
	return s
}

func TestNginx(t *testing.T) {
	t.Parallel()
	s := startNginx(t, nil)
	s.good(verifies("gateway=nginx&scope=orders.read"))

	s.sub("cache", func(s *setup) {
		token := s.issue(authsvctest.Worker)
		requests := 0
		for range 5 {
			a := s.do(call{token: token})
			s.passed("good", a)
			requests += a.requests
		}
		if requests != 1 {
			s.t.Errorf("five calls with one token sent authsvc %d requests", requests)
		}
		if got := s.backend.last(s.t).header.Get("X-App-Key"); got != authsvctest.Worker {
			s.t.Errorf("the cache returns X-App-Key %q", got)
		}
		other := s.issue(authsvctest.Batch)
		if a := s.do(call{token: other}); a.requests != 1 {
			s.t.Errorf("another token sent authsvc %d requests", a.requests)
		}
		if got := s.backend.last(s.t).header.Get("X-App-Key"); got != authsvctest.Batch {
			s.t.Errorf("another token is taken for that of %q", got)
		}
		for i := range 3 { // a refusal is never cached
			if a := s.do(call{token: "nonsense"}); a.requests != 1 {
				s.t.Errorf("refusal %d sent authsvc %d requests", i, a.requests)
			}
		}
		// Until the cached answer expires, authsvc is not called and the call passes;
		// the first time authsvc is called, the call is refused.
		authsvctest.Want(s.t, "revoke", s.Revoke(authsvctest.Worker, token), 200, "")
		var a answer
		redistest.Eventually(s.t, "the revocation to be seen", func() bool {
			if a = s.do(call{token: token}); a.requests == 0 {
				s.passed("kept", a)
			}
			return a.requests > 0
		})
		s.refused("revoked", a, 400, "APIG.2203")
	})

	// An answer cached for one path does not open another.
	s.sub("paths", func(s *setup) {
		orders, invoices := s.issue(authsvctest.Worker), s.issue(unscoped)
		s.passed("orders", s.do(call{token: orders}))
		s.refused("orders for invoices", s.do(call{token: orders, path: "/invoices/7"}), 403, "APIG.0304")
		s.passed("invoices", s.do(call{token: invoices, path: "/invoices/7"}))
		s.identity("invoices", s.backend.last(s.t), unscoped, "invoices.read", "")
		s.refused("invoices for orders", s.do(call{token: invoices}), 403, "APIG.0304")
		s.passed("orders again", s.do(call{token: orders}))
		for _, path := range []string{"/", "/other", "/_authsvc", "/orders/../other"} {
			if a := s.do(call{token: orders, path: path}); a.Status != 404 || a.requests != 0 || a.reached != 0 {
				s.t.Errorf("%s: %d, authsvc got %d requests, the backend %d times", path, a.Status, a.requests, a.reached)
			}
		}
	})

	s.sub("an ambiguous path", func(s *setup) {
		s.refused("//", s.do(call{token: s.issue(authsvctest.Worker), path: "/orders//7"}), 400, "APIG.0201")
	})
	s.sub("methods", func(s *setup) { s.attacked(methods()) })
	s.sub("targets", func(s *setup) { s.attacked(paths()) })
	s.sub("headers", func(s *setup) { s.attacked(headers()) })

	s.sub("refusals", func(s *setup) {
		for _, b := range s.badTokens() {
			a := s.do(call{token: b.token, method: http.MethodPost, body: strings.NewReader("x")})
			s.refused(b.name, a, b.status, b.code)
			if a.requests != 1 {
				s.t.Errorf("%s: authsvc got %d requests", b.name, a.requests)
			}
			if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(a.Text("request_id")) || a.Header.Get("Cache-Control") != "no-store" {
				s.t.Errorf("%s: %v %s", b.name, a.Header, a.Body)
			}
			if b.status == http.StatusUnauthorized && !strings.HasPrefix(strings.Join(a.Header.Values("Www-Authenticate"), "+"), `Bearer realm="authsvc"`) {
				s.t.Errorf("%s: WWW-Authenticate %q", b.name, a.Header.Values("Www-Authenticate"))
			}
			if n := len(a.Header.Values("Www-Authenticate")); n > 1 {
				s.t.Errorf("%s: %d WWW-Authenticate", b.name, n)
			}
		}
		a := s.do(call{header: http.Header{"Authorization": {"Bearer " + s.issue(authsvctest.Worker), "Bearer nonsense"}}})
		if a.reached != 0 || a.Status < 400 {
			s.t.Errorf("two tokens: %d, the backend got %d requests", a.Status, a.reached)
		}
	})

	s.sub("answers of the API", func(s *setup) { s.apiAnswers() })

	s.sub("backend stopped", func(s *setup) { s.backendStopped() })

	s.sub("unavailable", func(s *setup) { s.unavailable(503, "APIG.0613", 503, "APIG.0613") })
}

// The compose stack includes the recipe, so nginx accepts its configuration too.
func TestNginxOfTheStack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join("..", "..", "deploy")
	b, err := os.ReadFile(filepath.Join(root, "nginx", "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	gateways, err := filepath.Abs(filepath.Join(root, "gateways"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/etc/authsvc-gateways", gateways, "/etc/authsvc-nginx-tls", filepath.Join(dir, "no-tls"), "/tmp/", dir+"/", "http://demo:", "http://127.0.0.1:").Replace(string(b))
	main := filepath.Join(dir, "nginx.conf")
	if err := errors.Join(os.WriteFile(main, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "replicas.conf"), []byte("server 127.0.0.1:8080;\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(redistest.Program(t, "nginx", "/usr/sbin/nginx"), "-t", "-c", main, "-e", "stderr").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Without the lines that the recipe marks, every call is checked.
func TestNginxWithoutCache(t *testing.T) {
	t.Parallel()
	s := startNginx(t, func(line string) string {
		if strings.Contains(line, "[cache]") {
			return ""
		}
		return line
	})
	s.good(verifies("gateway=nginx&scope=orders.read"))
	s.everyCall(400, "APIG.2203")
}

func TestNginxPreflight(t *testing.T) {
	t.Parallel()
	startNginx(t, withPreflight).attacked(preflights())
}

func TestNginxKeepsToken(t *testing.T) {
	t.Parallel()
	keepsToken(t, startNginx, `proxy_set_header Authorization   ""`)
}

func TestNginxHTTP2(t *testing.T) {
	t.Parallel()
	startNginx(t, func(line string) string {
		if strings.Contains(line, "listen 127.") {
			line = strings.Replace(line, ";", " http2;", 1)
		}
		return withPreflight(line)
	}).overHTTP2()
}
