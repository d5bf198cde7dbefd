package clients

import (
	"strings"
	"testing"
)

// A client that waits for a challenge never authenticates, because there is none
// (docs/divergences.md); sent at once, its credentials work.
func TestNoChallenge(t *testing.T) {
	t.Parallel()
	s := serve(t, "plain")
	login, url := s.worker+":"+s.secret, s.URL+"/oauth/token"
	wget := []string{"wget", "-qO-", "--content-on-error", "--http-user=" + s.worker, "--http-password=" + s.secret, "--post-data=grant_type=client_credentials"}
	for _, c := range []struct {
		command []string
		good    bool
	}{
		{[]string{"curl", "-sS", "-u", login, "-d", "grant_type=client_credentials"}, true},
		{[]string{"curl", "-sS", "--anyauth", "-u", login, "-d", "grant_type=client_credentials"}, false},
		{append(wget, "--auth-no-challenge"), true},
		{wget, false},
		{[]string{"env", "CLIENT_ID=" + s.worker, "CLIENT_SECRET=" + s.secret, "AUTHSVC_URL=" + s.URL, python, "testdata/shows/urllib_.py"}, true},
		{[]string{"env", "WAIT=1", "CLIENT_ID=" + s.worker, "CLIENT_SECRET=" + s.secret, "AUTHSVC_URL=" + s.URL, python, "testdata/shows/urllib_.py"}, false},
	} {
		out, _ := run(t, s.env(), c.command[0], append(c.command[1:], url)...)
		want, request := `"error_code":"APIG.2211"`, "token  APIG.2211"
		if c.good {
			want, request = `"access_token":"at_`, "token "+s.worker+" ok"
		}
		if !strings.Contains(out, want) {
			t.Errorf("%q: %s", c.command, out)
		}
		s.wantRequests(request) // one request: nothing follows a refusal
	}
}

// A client that shows only the status of a refusal says of a frozen app that its
// method is not allowed.
func TestFrozenIsOpaque(t *testing.T) {
	t.Parallel()
	s := serve(t, "plain")
	for _, c := range []struct {
		command []string
		prints  string
	}{
		{[]string{"curl", "-sSf", "-u", frozen + ":" + s.secret, "-d", "grant_type=client_credentials"}, "curl: (22) The requested URL returned error: 405"},
		{[]string{"wget", "-nv", "-O-", "--auth-no-challenge", "--http-user=" + frozen, "--http-password=" + s.secret, "--post-data=grant_type=client_credentials"}, "ERROR 405: Method Not Allowed"},
	} {
		out, ok := run(t, s.env(), c.command[0], append(c.command[1:], s.URL+"/oauth/token")...)
		if ok || !strings.Contains(out, c.prints) || strings.Contains(out, "APIG") {
			t.Errorf("%q: success %t: %s", c.command, ok, out)
		}
		s.wantRequests("token " + frozen + " APIG.0502")
	}
}
