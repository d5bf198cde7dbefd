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

// A parameter that is missing, where the request has something like it.
func TestHintsAboutBodies(t *testing.T) {
	t.Parallel()
	s := newService(t)
	const (
		good     = "grant_type=client_credentials&client_id=" + worker + "&client_secret=" + secret
		client   = "client_id=" + worker + "&client_secret=" + secret
		json     = `{"grant_type":"client_credentials","client_id":"billing-worker","client_secret":"b1lling-Secret-0001"}`
		path     = "/oauth/token"
		inURL    = "parameters in the URL are not read"
		noGrant  = apierr.GrantTypeMissing
		noID     = apierr.ClientIDMissing
		noSecret = apierr.ClientSecretMissing
		bad      = apierr.AuthParameterInvalid
	)
	for _, tt := range []struct {
		target, body string
		row          apierr.Row
		want         string
	}{
		{path + "?" + good, "", noGrant, inURL},
		{path + "?" + good, "x=y", noGrant, inURL},
		{path + "?grant_type=client_credentials", client, noGrant, inURL},
		{path + "?client%5Fid=" + worker, "grant_type=client_credentials", noID, inURL},
		{path + "?client_secret=" + secret, "grant_type=client_credentials&client_id=" + worker, noSecret, inURL},
		{path + "?refresh_token=rt_x", "grant_type=refresh_token&" + client, apierr.RefreshTokenMissing, inURL},
		{"/oauth/revoke?token=at_x", client, bad, inURL},
		{path + "?other=x", client, noGrant, "Send client_credentials or refresh_token, in the body."},

		{path, "", noGrant, "The body is empty. Send"},
		{"/oauth/introspect", "", noID, "The body is empty. Send"},
		{"/oauth/revoke", "", noID, "The body is empty. Send"},
		{path, json, noGrant, "begins with {, as JSON does"},
		{"/oauth/introspect", `["token"]`, noID, "begins with [, as JSON does"},
		{path, strings.Replace(json, "Secret", "%zz", 1), bad, "begins with {, as JSON does"},
		{path, "<token/>", noGrant, "XML"},
		{path, "\ufeff" + good, noGrant, "byte order mark"},
		{path, "g\x00r\x00a\x00", bad, "UTF-16"},
		{path, "\xff\xfeg\x00", bad, "UTF-16"},
		{path, "\x1f\x8b\x08\x00", bad, "compressed"},
		{path, `"` + good + `"`, noGrant, "begins with a quote"},
		{path, "'" + good + "'", noGrant, "begins with a quote"},
		{path, "?" + good, noGrant, "question mark"},
		{path, "--x\r\nContent-Disposition: form-data", noGrant, "multipart"},
		{path, strings.ReplaceAll(good, "&", "&amp;"), noID, "&amp;"},
		{"/oauth/revoke", client + "&amp;token=at_x", bad, "&amp;"},

		{path, "grantType=client_credentials&" + client, noGrant, "one named grantType: name it grant_type."},
		{path, "grant-type=client_credentials&" + client, noGrant, "one named grant-type: name it grant_type."},
		{path, "grant_type[]=client_credentials&" + client, noGrant, "one named grant_type[]: name it grant_type."},
		{path, "GRANT_TYPE=client_credentials&" + client, noGrant, "one named GRANT_TYPE: name it grant_type."},
		{path, "grant_type=client_credentials&clientId=" + worker, noID, "one named clientId: name it client_id."},
		{path, "grant_type=client_credentials&client-id=" + worker, noID, "one named client-id: name it client_id."},
		{path, "grant_type=client_credentials&app_key=" + worker, noID, "one named app_key: name it client_id."},
		{path, "grant_type=client_credentials&appKey=" + worker, noID, "one named appKey: name it client_id."},
		{path, "grant_type=client_credentials&client_id=" + worker + "&app_secret=" + secret, noSecret, "one named app_secret: name it client_secret."},
		{path, "grant_type=client_credentials&client_id=" + worker + "&clientSecret=" + secret, noSecret, "one named clientSecret: name it client_secret."},
		{path, "grant_type=refresh_token&" + client + "&refreshToken=rt_x", apierr.RefreshTokenMissing, "one named refreshToken: name it refresh_token."},
		{path, "grant_type=refresh_token&" + client + "&token=rt_x", apierr.RefreshTokenMissing, "one named token: name it refresh_token."},
		{"/oauth/revoke", client + "&access_token=at_x", bad, "one named access_token: name it token."},
		{"/oauth/revoke", client + "&refresh_token=rt_x", bad, "one named refresh_token: name it token."},
		{path, "grant_type=client_credentials&%20client_id=" + worker, noID, "a quote, a blank, a line break"},
		{path, "grant_type=client_credentials&\nclient_id=" + worker, noID, "a quote, a blank, a line break"},
		{path, "grant_type=client_credentials&client_assertion=x", noID, "client_assertion, which is not supported"},
		{path, "grant_type=client_credentials&client_id=" + worker + "&client_assertion_type=y&client_assertion=x", noSecret, "client_assertion, which is not supported"},
		{path, "grant_type=client_credentials&client1id=" + worker, noID, "Send it in the body, or with HTTP Basic."},
		{path, "grant_type=client_credentials&client_identifier=" + worker, noID, "Send it in the body, or with HTTP Basic."},
	} {
		a := s.request("POST", tt.target, tt.body, "Content-Type", form)
		t.Run(tt.target+" "+tt.body, func(t *testing.T) { checkHint(t, a, tt.row, tt.want) })
		if d := a.text("error_description"); strings.Contains(d, secret) || strings.Contains(d, worker) {
			t.Errorf("%s %s: the hint tells too much: %s", tt.target, tt.body, d)
		}
	}

	const encoded = "The body has a Content-Encoding"
	for _, tt := range []struct {
		encoding, body string
		row            apierr.Row
		want           string
	}{
		{"gzip", "\x1f\x8b\x08\x00", bad, encoded},
		{"deflate", "x\x9c\x4b", bad, encoded},
		{"br", "abc", noGrant, encoded},
		{"identity", client, noGrant, "Send client_credentials or refresh_token, in the body."},
	} {
		checkHint(t, s.request("POST", path, tt.body, "Content-Type", form, "Content-Encoding", tt.encoding), tt.row, tt.want)
	}
	checkHint(t, s.request("POST", path+"?"+good, ""), apierr.ContentTypeInvalid, inURL)
	checkHint(t, s.request("POST", path, ""), apierr.ContentTypeInvalid, "The body is empty. Send")
	checkHint(t, s.request("POST", path, good), apierr.ContentTypeInvalid, "The Content-Type header is not")
}

// A value that is nearly right, and what it is about it.
func TestHintsAboutValues(t *testing.T) {
	t.Parallel()
	s := newService(t)
	const (
		percent = "If the secret has a percent sign in it, write %25"
		noScope = "names a scope that the app does not have"
		bad     = apierr.AuthParameterInvalid
		shape   = apierr.KeyOrSecretMalformed
		wrong   = apierr.CredentialsInvalid
	)
	good := func(change ...string) string {
		v := values("grant_type", "client_credentials", "client_id", worker, "client_secret", secret)
		for i := 0; i < len(change); i += 2 {
			v.Set(change[i], change[i+1])
		}
		return v.Encode()
	}
	raw := func(secret string) string {
		return "grant_type=client_credentials&client_id=" + worker + "&client_secret=" + secret
	}
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, tt := range []struct {
		body       string
		row        apierr.Row
		want, hide string
	}{
		{raw("b1lling%ff-0001"), bad, "not valid UTF-8. Encode every parameter in UTF-8 before form-encoding it. It is in the client_secret. " + percent, "b1lling"},
		{raw("b1lling%e6x-0001"), bad, percent, "b1lling"},
		{raw("b1lling-%c3"), bad, percent, "b1lling"},
		{raw("b1lling%00-0001"), bad, "NUL character. No parameter may contain one. It is in the client_secret. " + percent, "b1lling"},
		{raw("b1lling%41-0001"), wrong, percent, "b1lling"},
		{raw("b1lling-%30001"), wrong, percent, "b1lling"},
		{raw("b1lling%2D0001"), wrong, "belongs to another environment.", percent},
		{raw("b1lling%21-0001"), wrong, "belongs to another environment.", percent},
		{raw(secret) + "&x=%ff", bad, "before form-encoding it.", percent},

		{good("client_secret", secret+"\n"), shape, "ends with a line break.", secret},
		{good("client_secret", secret+"\r\n"), shape, "ends with a line break.", secret},
		{good("client_secret", " "+secret), shape, "begins with a blank.", secret},
		{good("client_secret", secret+"\t"), shape, "ends with a blank.", secret},
		{good("client_secret", `"`+secret+`"`), shape, "begins with a quote.", secret},
		{good("client_secret", secret+"'"), shape, "ends with a quote.", secret},
		{good("client_id", worker+"\n"), shape, "ends with a line break.", worker},
		{good("client_id", `"`+worker+`"`), shape, "begins with a quote.", worker},
		{good("grant_type", "client_credentials\r\n"), apierr.GrantTypeUnsupported, "ends with a line break.", "\n"},
		{good("grant_type", `"refresh_token"`), apierr.GrantTypeUnsupported, "begins with a quote.", "\n"},
		{good("grant_type", " refresh_token"), apierr.GrantTypeUnsupported, "begins with a blank.", "\n"},

		{good("scope", "orders.delete"), bad, noScope + ". Request fewer scopes, or leave the parameter out to get all of them. The first of them is orders.delete.", "\n"},
		{good("scope", "orders.read Orders:Write"), bad, "The first of them is Orders:Write.", "\n"},
		{good("scope", "admin"), bad, "The first of them is admin.", "\n"},
		{good("scope", "orders.read,orders.write"), bad, "comma", "\n"},
		{good("scope", "orders.read\norders.write"), bad, "a tab or a line break", "\n"},
		{good("scope", "orders\u00e9"), bad, noScope, "orders?"},
		{good("scope", `a"b\c`), bad, noScope, "a'b"},
		{good("scope", strings.Repeat("s.", 40)), bad, noScope, "s.s."},
		{good("scope", hex), bad, noScope, hex},
		{good("scope", "at_"+strings.Repeat("Ab-1", 10)), bad, noScope, "Ab-1"},
		{good("scope", secret), bad, "has the client_secret in it", secret},
		{good("scope", "orders.read x"+secret), bad, "has the client_secret in it", secret},
		{good("client_id", distant), apierr.IPNotTrusted, "It is seen as 127.0.0.1; if that is a proxy", "\n"},
	} {
		a := s.request("POST", "/oauth/token", tt.body, "Content-Type", form)
		t.Run(tt.body, func(t *testing.T) { checkHint(t, a, tt.row, tt.want) })
		if d := a.text("error_description"); strings.Contains(d, tt.hide) {
			t.Errorf("%s: the hint tells too much: %s", tt.body, d)
		}
	}
}
