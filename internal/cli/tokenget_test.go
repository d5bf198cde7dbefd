package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

func TestTokenGet(t *testing.T) {
	t.Parallel()
	s := authsvctest.NewSite(t).Serve("memory://")
	get := func(args ...string) []string {
		return append([]string{"token", "get", "--url", s.URL, "--key", authsvctest.Worker, "--timeout", "1m"}, args...)
	}
	for _, way := range []string{"--basic", "--post"} {
		status, stdout, stderr := authsvc(authsvctest.Secret, get(way, "--scope", "orders.read", "--through-data", "tenant 7")...)
		if status != 0 {
			t.Fatalf("%s: %s", way, stderr)
		}
		token, _, _ := strings.Cut(strings.TrimPrefix(stdout, "access_token   "), "\n")
		if a := s.Introspect(token); !a.Active() || a.Text("scope") != "orders.read" || a.Text("through_data") != "tenant 7" {
			t.Errorf("%s: %q is not a good token: %s", way, token, a.Body)
		}
		for _, line := range []string{
			"> POST /oauth/token HTTP/1.1\n", "> Content-Type: application/x-www-form-urlencoded\n", "> through_data=tenant+7\n",
			"< HTTP/1.1 200 OK\n", "< X-Request-Id: ", `< {"access_token":"(access token)",`,
		} {
			if strings.Count(stderr, line) != 1 {
				t.Errorf("%s: %q is not in the trace once:\n%s", way, line, stderr)
			}
		}
		if n := strings.Count(stderr, "> client_secret=(secret)&\n"); (n == 1) != (way == "--post") {
			t.Errorf("%s: the secret is in the form %d times", way, n)
		}
		if n := strings.Count(stderr, "> Authorization: Basic (secret)\n"); (n == 1) != (way == "--basic") {
			t.Errorf("%s: the secret is in a header %d times", way, n)
		}
		if strings.Contains(stderr, authsvctest.Secret) || strings.Contains(stderr, "at_") || strings.Contains(stderr, "rt_") || strings.Contains(stdout, authsvctest.Secret) {
			t.Errorf("%s: the trace shows a secret or a token:\n%s", way, stderr)
		}
	}

	// For programs: the answer and nothing else; and on with its refresh token.
	status, stdout, stderr := authsvc(authsvctest.Secret, get("-o", "json")...)
	var first, second granted
	if err := json.Unmarshal([]byte(stdout), &first); status != 0 || err != nil || stderr != "" {
		t.Fatalf("%d %v: %s%s", status, err, stdout, stderr)
	}
	file := filepath.Join(t.TempDir(), "refresh.txt")
	if err := os.WriteFile(file, []byte(first.RefreshToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr = authsvc(authsvctest.Secret, get("-o", "json", "--refresh-token-file", file)...)
	if err := json.Unmarshal([]byte(stdout), &second); status != 0 || err != nil || second.RefreshToken == first.RefreshToken {
		t.Fatalf("refresh: %d %v: %s%s", status, err, stdout, stderr)
	}

	// A failure says which row, why, what to do, and under which id it is logged.
	status, stdout, stderr = authsvc("not-The-Secret", get()...)
	if status != 1 || stdout != "" || strings.Contains(stderr, "not-The-Secret") {
		t.Errorf("%d %s", status, stdout)
	}
	for _, part := range []string{"\nAPIG.1009  HTTP 400  invalid_client\n", "\n  Cause: ", "\n  Fix: ", "\n  The service says: ", "\n  Request id: "} {
		if strings.Count(stderr, part) != 1 {
			t.Errorf("%q is not there once:\n%s", part, stderr)
		}
	}
	_, id, _ := strings.Cut(stderr, "Request id: ")
	redistest.Eventually(t, "the request id in the log", func() bool {
		return strings.Contains(s.Stderr.Text(), strings.TrimSpace(id))
	})
}

// What went wrong on the way is said in plain words, with what to do.
func TestTokenGetFromAnotherServer(t *testing.T) {
	t.Parallel()
	answer := func(status int, header, value, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(header, value)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	cut := func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close()
		}
	}
	silent := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then a client that leaves is noticed
		<-r.Context().Done()
	}
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"error_code": "APIG.2205", "error_description": "\x1b[2J you sent " + r.PostFormValue("client_secret"),
		})
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		tls     bool
		scheme  string // of the URL, where it is not the server's
		want    string
	}{
		{"no JSON", answer(502, "Content-Type", "text/html", "<h1>Bad Gateway</h1>"), false, "", "502 Bad Gateway, and not from authsvc"},
		{"a code that is not in the table", answer(400, "", "", `{"error_code":"APIG.9999"}`), false, "", "not from authsvc"},
		{"200 without a token", answer(200, "", "", `{"token":"x"}`), false, "", "has no access_token"},
		{"200 without JSON", answer(200, "", "", `hello`), false, "", "has no access_token"},
		{"a redirect", answer(302, "Location", "https://elsewhere.example/", ""), false, "", "redirects to https://elsewhere.example/"},
		{"a wait", answer(503, "Retry-After", "2", `{"error_code":"APIG.0613"}`), false, "", "Retry-After: 2"},
		{"a row by its status", answer(413, "", "", `{"error_code":"APIG.0201"}`), false, "", "Request entity too large."},
		{"an echo of the secret", echo, false, "", "you sent (secret)"},
		{"cut off", cut, false, "", "closed the connection without an answer"},
		{"silence", silent, false, "", "no answer in 300ms"},
		{"an unknown authority", answer(200, "", "", ""), true, "", "an authority that this machine does not know"},
		{"TLS where there is none", answer(200, "", "", ""), false, "https", "does not speak TLS there"},
		{"no TLS where there is some", answer(200, "", "", ""), true, "http", "speaks TLS there: use https://"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewUnstartedServer(tt.handler)
			srv.Config.ErrorLog = quiet
			if tt.tls {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			url := srv.URL
			if tt.scheme != "" {
				_, rest, _ := strings.Cut(url, "://")
				url = tt.scheme + "://" + rest
			}
			timeout := "10s"
			if tt.name == "silence" {
				timeout = "300ms"
			}
			status, stdout, stderr := authsvc(authsvctest.Secret, "token", "get", "--url", url, "--key", authsvctest.Worker, "--timeout", timeout)
			if status != 1 || stdout != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d, want 1 and %q:\n%s%s", status, tt.want, stdout, stderr)
			}
			if strings.Contains(stderr, authsvctest.Secret) || strings.Contains(stderr, "\x1b") {
				t.Errorf("the secret shows, or the terminal is told something:\n%s", stderr)
			}
		})
	}
}

// However a server spells its tokens, the trace does not show them.
func TestTokenGetTraceShowsNoToken(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"access_token":"SECR\/ET1+abc","refresh_token":"SECR\u0045T2","token_type":"Bearer"}`,
		`{"access_token":"SECRET1","access_token":"SECRET2"}`,
		`{"data":{"access_token":"SECRET1"}}`,
		`[{"refresh_token":"SECRET1"}]`,
		`access_token=SECRET1&token_type=Bearer`,
		`{"access_token":"SECRET1"} {}`,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Set-Cookie", "session=SECRET3")
			_, _ = w.Write([]byte(body))
		}))
		_, _, stderr := authsvc(authsvctest.Secret, "token", "get", "--url", srv.URL, "--key", authsvctest.Worker, "--timeout", "1m")
		srv.Close()
		if strings.Contains(stderr, "SECR") || !strings.Contains(stderr, "< HTTP/1.1 200 OK") {
			t.Errorf("%s:\n%s", body, stderr)
		}
	}
}

func TestTokenGetOverTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"at_1234567890","token_type":"Bearer","expires_in":60}`))
	}))
	srv.Config.ErrorLog = quiet
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(srv.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	get := []string{"token", "get", "--timeout", "1m", "--key", authsvctest.Worker, "--ca", ca, "--url"}
	status, stdout, stderr := authsvc(authsvctest.Secret, append(get, srv.URL)...)
	if status != 0 || !strings.Contains(stdout, "at_1234567890") {
		t.Fatalf("%d %s%s", status, stdout, stderr)
	}
	if strings.Count(stderr, "* TLS 1.3; certificate of example.com, ") != 1 || strings.Contains(stderr, "at_1234567890") {
		t.Errorf("the trace is\n%s", stderr)
	}
	// The certificate names another host.
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "https://"), ":")
	if status, _, stderr := authsvc(authsvctest.Secret, append(get, "https://localhost:"+port)...); status != 1 || !strings.Contains(stderr, "certificate is for another name") {
		t.Errorf("%d %s", status, stderr)
	}
}
