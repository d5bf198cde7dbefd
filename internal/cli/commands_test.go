package cli

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"
)

var quiet = log.New(io.Discard, "", 0)

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// Every command says what it is, and shows how it is used, by its own name; each
// that prints data does so for programs as well.
func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	data := 0
	for _, c := range commands(rootCommand(Env{})) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short text is %q", c.CommandPath(), c.Short)
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: no example of it in its help", c.CommandPath())
		}
		for l := range strings.Lines(c.Long) {
			if len(l) > 84 {
				t.Errorf("%s: a line of its help is %d wide: %s", c.CommandPath(), len(l), l)
			}
		}
		if f := c.Flags().Lookup("output"); f != nil {
			data++
			if f.Shorthand != "o" || f.DefValue != "text" {
				t.Errorf("%s: -%s, default %s", c.CommandPath(), f.Shorthand, f.DefValue)
			}
		}
	}
	if data != 9 {
		t.Errorf("%d commands have -o, want 9", data)
	}
}

func TestManualPagesHoldNoRequestsOfTheirTexts(t *testing.T) {
	t.Parallel()
	if got, want := roff(".TH \\n\n'x --now"), "\\&.TH \\en\n\\&'x \\-\\-now"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	requests := []string{".TH", ".SH", ".PP", ".TP", ".B", ".nf", ".fi"}
	for _, c := range commands(rootCommand(Env{})) {
		page := manPage(c)
		for _, section := range []string{".SH NAME\n", ".SH SYNOPSIS\n", ".SH EXAMPLES\n", ".SH EXIT STATUS\n"} {
			if strings.Count(page, section) != 1 {
				t.Errorf("%s: %q is not there once", pageName(c), section)
			}
		}
		for l := range strings.Lines(page) {
			request, _, _ := strings.Cut(strings.TrimSpace(l), " ")
			if strings.HasPrefix(l, ".") && !slices.Contains(requests, request) || strings.HasPrefix(l, "'") {
				t.Errorf("%s: %q", pageName(c), l)
			}
		}
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	s := authsvctest.NewSite(t).Serve("memory://")
	if status, stdout, stderr := authsvc("", "healthcheck", "--timeout", "1m", "--url", s.Admin+"/readyz"); status != 0 || stdout != "ok\n" || stderr != "" {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
	for _, tt := range []struct{ path, want string }{
		{"/nothing", "404 Not Found: "},
		{"", "404 Not Found: "},
	} {
		if status, stdout, stderr := authsvc("", "healthcheck", "--timeout", "1m", "--url", s.Admin+tt.path); status != 1 || stdout != "" || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: %d %q %q", tt.path, status, stdout, stderr)
		}
	}
	lost := authsvctest.NewSite(t).Start("redis://127.0.0.1:1/0")
	if status, stdout, stderr := authsvc("", "healthcheck", "--timeout", "1m", "--url", lost.Admin+"/readyz"); status != 1 || stdout != "" || !strings.Contains(stderr, "503 Service Unavailable: not ready: store") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("%d %q %q", status, stdout, stderr)
	}
}

// An authority that it does not know is named as its message says.
func TestHealthcheckOverTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	srv.Config.ErrorLog = quiet
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(srv.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(env ...string) (string, error) {
		cmd := exec.Command(authsvctest.Binary(t), "healthcheck", "--timeout", "1m", "--url", srv.URL)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := check(); err == nil || !strings.Contains(out, "name its PEM file in the environment variable SSL_CERT_FILE") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := check("SSL_CERT_FILE=" + ca); err != nil || out != "ok\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// The address is that of the setting, wherever it is set.
func TestHealthcheckFindsItsServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ setting, want string }{
		{"", "http://127.0.0.1:8081/readyz"},
		{"AUTHSVC_ADMIN_LISTEN=:9", "http://127.0.0.1:9/readyz"},
		{"AUTHSVC_ADMIN_LISTEN=0.0.0.0:9", "http://127.0.0.1:9/readyz"},
		{"AUTHSVC_ADMIN_LISTEN=10.1.2.3:9", "http://10.1.2.3:9/readyz"},
		{"AUTHSVC_ADMIN_LISTEN=[::1]:9", "http://[::1]:9/readyz"},
	} {
		if got := readyURL(Env{Vars: []string{tt.setting}}); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.setting, got, tt.want)
		}
	}
}
