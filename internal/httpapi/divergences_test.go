package httpapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	apierr "authsvc/internal/errors"
)

// Departures from RFCs in docs/divergences.md that no other test shows.

// RFC 6749 section 5.2 has 401 with a challenge for a failed Basic login.
func TestAFailedBasicLoginIsNotChallenged(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, path := range []string{"/oauth/token", "/oauth/introspect", "/oauth/revoke"} {
		a := s.authorized(path, func(r *http.Request) { r.SetBasicAuth(gateway, "another-Secret-01") }, "grant_type", "client_credentials", "token", "x")
		checkFailure(t, s, a, apierr.CredentialsInvalid, "")
		if a.status != http.StatusBadRequest || a.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
}

// RFC 7662 section 2.1 lets a caller present a bearer token; here it must be an app
// with the role.
func TestOnlyTheRoleIntrospects(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := s.issue(worker)
	checkFailure(t, s, s.post("/oauth/introspect", worker, values("token", p.access)), apierr.AppNotAuthorized, "")
	a := s.authorized("/oauth/introspect", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+p.access) }, "token", p.access)
	checkFailure(t, s, a, apierr.AuthMethodInvalid, "")
}

// RFC 9112 section 2.2 has servers ignore an empty line before the request line.
func TestAnEmptyLineBeforeTheRequestLine(t *testing.T) {
	t.Parallel()
	s := newService(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "\r\nGET /errors HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadRequest || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// authorized sends a form whose credentials are in a header that authorize sets.
func (s *service) authorized(path string, authorize func(*http.Request), params ...string) received {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.url+path, strings.NewReader(values(params...).Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", form)
	authorize(r)
	return s.do(r)
}
