package clients

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What Authlib can't do, and what it does besides the code in docs/clients.md.
func TestAuthlib(t *testing.T) {
	t.Parallel()
	needPython(t)
	s := serve(t, "special")
	cmd := exec.Command(python, filepath.Join("testdata", "authlib_more.py"))
	cmd.Env = s.env()
	var out bytes.Buffer // read once the process has exited
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Its input is closed at the end of the test, which ends the script.
	t.Cleanup(func() { _ = in.Close() })
	s.wantRequests(
		"token "+s.worker+" ok", "token "+s.worker+" ok",
		"introspect "+s.worker+" APIG.0304", "revoke "+s.worker+" APIG.1009",
		"revoke "+s.worker+" ok", "token "+s.worker+" APIG.2202",
	)
	s.redis.Pause()
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	s.redis.Resume()
	lines(t, out.String(),
		"body: orders.read orders.write",
		"introspect: 403 APIG.0304",
		"revoke: 400 APIG.1009",
		"refresh: invalid_grant: The refresh token is unknown: it was revoked",
		"5xx: False APIG.0613 True",
	)
}

// What requests-oauthlib can't do, and what it does besides the code in
// docs/clients.md.
func TestRequestsOAuthlib(t *testing.T) {
	t.Parallel()
	needPython(t)
	s := serve(t, "special")
	out, ok := run(t, s.env(), python, filepath.Join("testdata", "requests_oauthlib_more.py"))
	if !ok {
		t.Fatalf("it fails:\n%s", out)
	}
	lines(t, out,
		"http: (insecure_transport) OAuth 2 MUST utilize https.",
		"body: orders.read orders.write",
		"refresh: (invalid_client) The client_id parameter is missing. Send it in the body, or with HTTP Basic.",
		"named: orders.read",
		`default: Scope has changed from "default" to "orders.`,
	)
	s.wantRequests(
		"token "+s.worker+" ok", "token "+s.worker+" ok", "token  APIG.2211",
		"token "+s.worker+" ok", "token "+s.worker+" ok",
	)
}

// lines checks that a text has these lines; each may be followed by more on its line.
func lines(t *testing.T, text string, want ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSpace(text), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), text)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("line %d is\n\t%s\nwant\n\t%s", i+1, got[i], want[i])
		}
	}
}
