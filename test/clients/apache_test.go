package clients

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"authsvc/internal/redistest"
)

// Apache with mod_oauth2 tells its callers that their token is bad, whatever went wrong:
// also when authsvc refuses the gateway's own credentials, or its Redis is away.
func TestModOAuth2(t *testing.T) {
	t.Parallel()
	s := serve(t, "special")
	old := s.MustPost("/oauth/token", short, "client_secret", secrets["plain"], "grant_type", "client_credentials").Pair().Access
	redistest.Eventually(t, "the token has expired", func() bool { return s.introspect(old).Text("error_code") == "APIG.1002" })
	away := s.site.Start("redis://127.0.0.1:1")
	issue := func() string {
		return s.MustPost("/oauth/token", s.worker, "client_secret", s.secret, "grant_type", "client_credentials").Pair().Access
	}
	for _, auth := range []string{"client_secret_basic", "client_secret_post"} {
		good := startModOAuth2(t, s.URL, auth, s.gateway, s.secret)
		for _, c := range []struct {
			name, url, token string
			status           int
		}{
			{"a good token", good, issue(), 200},
			{"an expired token", good, old, 401},
			{"a frozen app's gateway", startModOAuth2(t, s.URL, auth, frozen, secrets["plain"]), issue(), 401},
			{"the gateway's wrong secret", startModOAuth2(t, s.URL, auth, s.gateway, "another-"+s.secret), issue(), 401},
			{"Redis away", startModOAuth2(t, away.URL, auth, s.gateway, s.secret), issue(), 401},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+c.token)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			challenge := map[int]string{401: `Bearer error="invalid_token", error_description="Token could not be verified."`}[c.status]
			if res.StatusCode != c.status || res.Header.Get("WWW-Authenticate") != challenge {
				t.Errorf("%s, %s: %d %q; want %d %q", auth, c.name, res.StatusCode, res.Header.Get("WWW-Authenticate"), c.status, challenge)
			}
		}
	}
}

// startModOAuth2 starts an Apache that introspects tokens as an app, and returns its URL.
func startModOAuth2(t *testing.T, service, auth, key, secret string) string {
	t.Helper()
	apache := redistest.Program(t, "apache2", "/usr/sbin/apache2")
	const modules = "/usr/lib/apache2/modules"
	if _, err := os.Stat(modules + "/mod_oauth2.so"); err != nil {
		t.Fatal("libapache2-mod-oauth2 is not installed; 'make deps' installs it")
	}
	dir, addr := t.TempDir(), redistest.FreeAddr(t)
	text := fmt.Sprintf("ServerRoot %s\nServerName localhost\nPidFile %[1]s/pid\nDefaultRuntimeDir %[1]s\nErrorLog /dev/null\nListen %s\nStartServers 1\n", dir, addr)
	for _, m := range []string{"mpm_event", "authn_core", "authz_core", "authz_user", "status", "oauth2"} {
		text += fmt.Sprintf("LoadModule %s_module %s/mod_%[1]s.so\n", m, modules)
	}
	if os.Getuid() == 0 {
		text += "User www-data\nGroup www-data\n"
	}
	text += fmt.Sprintf(`OAuth2CryptoPassphrase of-no-use
<Location />
    AuthType oauth2
    OAuth2TokenVerify introspect %s/oauth/introspect introspect.auth=%s&client_id=%s&client_secret=%s
    OAuth2TargetPass remote_user_claim=client_id
    Require valid-user
    SetHandler server-status
</Location>
`, service, auth, key, url.QueryEscape(secret))
	conf := filepath.Join(dir, "apache.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(apache, "-D", "FOREGROUND", "-f", conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	at := "http://" + addr + "/"
	redistest.Eventually(t, "Apache listens", func() bool {
		res, err := http.Get(at)
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	})
	return at
}
