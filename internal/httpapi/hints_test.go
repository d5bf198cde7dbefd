package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	apierr "authsvc/internal/errors"
)

// checkHint checks that a failure has a row, and a hint that says a part of which is want.
func checkHint(t *testing.T, a received, row apierr.Row, want string) {
	t.Helper()
	if a.status != row.Status() || a.text("error_code") != row.Code() || a.text("error_msg") != row.Message() {
		t.Fatalf("%d %s, want %s", a.status, a.body, row)
	}
	if d := a.text("error_description"); !strings.Contains(d, want) || len(d) > 400 || !descriptionChars.MatchString(d) {
		t.Errorf("the hint is not about %q: %s", want, d)
	}
}

// request sends one with any method, head and body.
func (s *service) request(method, target, body string, header ...string) received {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return s.do(r)
}

// A path or method that is not there, where what was meant can be seen.
func TestHintsAtAddresses(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, tt := range []struct {
		method, target string
		row            apierr.Row
		want           string
	}{
		{"GET", "/oauth/token", apierr.APIMethodNotFound, "Use POST. Send the parameters in the body. If the client did, it was redirected"},
		{"GET", "/v1/apigw/oauth2/token?grant_type=client_credentials", apierr.APIMethodNotFound, "Use POST."},
		{"PUT", "/oauth/introspect", apierr.APIMethodNotFound, "Use POST. Send the parameters in the body."},
		{"DELETE", "/oauth/revoke", apierr.APIMethodNotFound, "Use POST."},
		{"POST", "/errors", apierr.APIMethodNotFound, "Use GET or HEAD."},
		{"PUT", "/oauth/verify", apierr.APIMethodNotFound, "Use POST or GET or HEAD."},

		{"POST", "//oauth/token", apierr.APINotFound, "It is /oauth/token,"},
		{"POST", "/oauth//introspect", apierr.APINotFound, "It is /oauth/introspect,"},
		{"POST", "/oauth/token/", apierr.APINotFound, "It is /oauth/token,"},
		{"POST", "/oauth/revoke%20", apierr.APINotFound, "It is /oauth/revoke,"},
		{"POST", "/oauth/token%0A", apierr.APINotFound, "It is /oauth/token,"},
		{"POST", "/OAuth/Token", apierr.APINotFound, "It is /oauth/token,"},
		{"POST", "/auth/oauth/token", apierr.APINotFound, "something before /oauth/token:"},
		{"POST", "/api/v1/oauth/introspect/", apierr.APINotFound, "something before /oauth/introspect:"},
		{"GET", "/health", apierr.APINotFound, "admin listener"},
		{"GET", "/readyz", apierr.APINotFound, "admin listener"},
		{"GET", "/metrics/", apierr.APINotFound, "admin listener"},
		{"GET", "/.well-known/jwks.json", apierr.APINotFound, "opaque: send them to /oauth/introspect"},
		{"GET", "/oauth2/certs", apierr.APINotFound, "opaque: send them to /oauth/introspect"},
		{"POST", "/oauth2/token", apierr.APINotFound, "Tokens are at /oauth/token"},
		{"POST", "/connect/token", apierr.APINotFound, "Tokens are at /oauth/token"},
		{"POST", "/oauth/check_token", apierr.APINotFound, "/oauth/introspect."},
		{"POST", "/oauth2/revoke", apierr.APINotFound, "/oauth/revoke."},
		{"GET", "/oauth/authorize", apierr.APINotFound, "not of people"},
		{"GET", "/nothing/like-it", apierr.APINotFound, "Paths must match exactly"},
		{"GET", "/" + strings.Repeat("x/", 500) + "oauth/token", apierr.APINotFound, "Paths must match exactly"},
	} {
		t.Run(tt.method+" "+tt.target[:min(40, len(tt.target))], func(t *testing.T) {
			t.Parallel()
			a := s.request(tt.method, tt.target, "")
			checkHint(t, a, tt.row, tt.want)
		})
	}
}
