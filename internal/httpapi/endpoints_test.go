package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/httpapi"
	"authsvc/internal/keyring"
	"authsvc/internal/store/memory"
	"authsvc/internal/token"
)

const form = "application/x-www-form-urlencoded"

func TestTokenAnswer(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, path := range []string{"/oauth/token", "/v1/apigw/oauth2/token"} {
		a := s.post(path, worker, values("grant_type", "client_credentials", "through_data", "hello"))
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" ||
			a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
			t.Fatalf("%s: %d %v %s", path, a.status, a.header, a.body)
		}
		if a.field("expires_in") != 3600.0 || a.field("token_type") != "Bearer" || a.field("scope") != "orders.read orders.write" ||
			!strings.HasPrefix(a.text("access_token"), "at_") || !strings.HasPrefix(a.text("refresh_token"), "rt_") {
			t.Errorf("%s: %s", path, a.body)
		}
		e := s.log.event(t, "request", a.header.Get("X-Request-Id"))
		if e["code"] != "ok" || e["app"] != worker || e["endpoint"] != "token" || e["level"] != "INFO" {
			t.Errorf("log event %v", e)
		}
	}
	// Scope is left out when it is empty.
	if a := s.post("/oauth/token", gateway, values("grant_type", "client_credentials")); a.status != 200 || a.field("scope") != nil {
		t.Errorf("an app without scopes: %d %s", a.status, a.body)
	}
}

func TestScopeOfClientCredentials(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for asked, want := range map[string]string{
		"":                         "orders.read orders.write",
		"default":                  "orders.read orders.write",
		"orders.write":             "orders.write",
		"orders.write orders.read": "orders.read orders.write",
		" orders.read ":            "orders.read",
	} {
		if a := s.post("/oauth/token", worker, values("grant_type", "client_credentials", "scope", asked)); a.text("scope") != want {
			t.Errorf("scope %q: %s", asked, a.body)
		}
	}
	for _, asked := range []string{" ", "orders.delete", "default orders.read", "orders.read\torders.write", strings.Repeat("orders.read ", 400)} {
		a := s.post("/oauth/token", worker, values("grant_type", "client_credentials", "scope", asked))
		checkFailure(t, s, a, apierr.AuthParameterInvalid, "invalid_scope")
	}
}

func TestThroughData(t *testing.T) {
	t.Parallel()
	s := newService(t)
	most := strings.Repeat("𝄞", 300) // 300 code points, 1200 bytes
	p := s.issue(worker, "through_data", most)
	if a := s.introspect(p.access); a.text("through_data") != most {
		t.Errorf("300 characters do not come back: %s", a.body)
	}
	// An empty one counts as missing, so it is kept.
	p = s.refresh(worker, p, "through_data", "")
	if a := s.introspect(p.access); a.text("through_data") != most {
		t.Errorf("through_data is not kept: %s", a.body)
	}
	before := p
	p = s.refresh(worker, p, "through_data", "tenant 7")
	if a := s.introspect(p.access); a.text("through_data") != "tenant 7" {
		t.Errorf("through_data is not replaced: %s", a.body)
	}
	if a := s.introspect(before.access); a.field("active") != false {
		t.Errorf("the token with the old through_data is still active: %s", a.body)
	}
}

// The ways in which a client may say who it is.
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	s := newService(t)
	type header = map[string]string
	basic := func(id, secret string) header {
		c := tokenCall{header: http.Header{}}
		c.basic(id, secret)
		return header{"Authorization": c.header.Get("Authorization")}
	}
	for _, tt := range []struct {
		name   string
		header header
		form   url.Values
		want   apierr.Row // 0: success
	}{
		{"body", nil, values("client_id", worker, "client_secret", secret), 0},
		{"Basic", basic(worker, secret), nil, 0},
		{"Basic and the same client_id", basic(worker, secret), values("client_id", worker), 0},
		{"Basic and an empty client_secret", basic(worker, secret), values("client_secret", ""), 0},
		{"Basic, encoded", basic("billing%2Dworker", "b1lling%2DSecret%2D0001"), nil, 0},
		{"scheme in lower case", header{"Authorization": strings.Replace(basic(worker, secret)["Authorization"], "Basic", "basic", 1)}, nil, 0},
		{"Basic without a secret", basic(worker, ""), nil, apierr.ClientSecretMissing},
		{"Basic without an id", basic("", secret), nil, apierr.ClientIDMissing},
		{"Basic without a colon", header{"Authorization": "Basic YWJj"}, nil, apierr.AuthParameterInvalid},
		{"Basic that is not UTF-8", header{"Authorization": "Basic /zr/"}, nil, apierr.AuthParameterInvalid},
		{"Basic without anything", header{"Authorization": "Basic"}, nil, apierr.AuthParameterInvalid},
		{"empty header", header{"Authorization": ""}, values("client_id", worker, "client_secret", secret), apierr.AuthMethodInvalid},
		{"Digest", header{"Authorization": "Digest x"}, nil, apierr.AuthMethodInvalid},
		{"in the query", nil, nil, apierr.ClientIDMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := values("grant_type", "client_credentials")
			for k, v := range tt.form {
				f[k] = v
			}
			r, err := http.NewRequest(http.MethodPost, s.url+"/oauth/token?client_id="+worker+"&client_secret="+secret, strings.NewReader(f.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", form+"; charset=UTF-8")
			for k, v := range tt.header {
				r.Header.Set(k, v)
			}
			a := s.do(r)
			if tt.want != 0 {
				checkFailure(t, s, a, tt.want, "")
			} else if a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// A secret with a percent sign works however the client writes HTTP Basic.
func TestBasicWithPercentSign(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ring := keyring.New(s.now.Now())
	pepper := ring.Pepper()
	const odd = "a%21b%25c!#$@"
	apps, err := app.NewRegistry(pepper, []app.App{{Key: worker, Secrets: []app.Secret{{Hash: pepper.Hash(odd)}}}})
	if err != nil {
		t.Fatal(err)
	}
	s = newService(t, func(c *httpapi.Config) { c.Apps = apps })
	for _, sent := range []string{odd, url.QueryEscape(odd)} {
		c := tokenCall{method: http.MethodPost, path: "/oauth/token", header: http.Header{"Content-Type": {form}}, form: values("grant_type", "client_credentials")}
		c.basic(worker, sent)
		if a := c.send(s); a.status != http.StatusOK {
			t.Errorf("%q: %d %s", sent, a.status, a.body)
		}
	}
}

func (s *service) introspect(tok string) received {
	s.t.Helper()
	return s.post("/oauth/introspect", gateway, values("token", tok))
}

func TestIntrospect(t *testing.T) {
	t.Parallel()
	s := newService(t)
	issued := s.now.Now().Unix()
	p := s.issue(worker, "through_data", `{"tenant":7}`)
	a := s.introspect(p.access)
	var got map[string]any
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	jti, _ := got["jti"].(string)
	delete(got, "jti")
	want := map[string]any{
		"active": true, "client_id": worker, "sub": worker, "scope": "orders.read orders.write", "token_type": "Bearer",
		"iat": float64(issued), "exp": float64(issued + 3600), "iss": issuer, "through_data": `{"tenant":7}`,
	}
	if d := cmp.Diff(want, got); d != "" || len(jti) != 16 {
		t.Errorf("jti %q, rest (-want +got):\n%s", jti, d)
	}
}

// Why a token is not active, in the order in which the reasons are looked at.
func TestIntrospectReasons(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(s *service) string
		want apierr.Row
	}{
		{"nonsense", func(*service) string { return "nonsense" }, apierr.AccessTokenInvalid},
		{"far too long", func(*service) string { return strings.Repeat("x", 9000) }, apierr.AccessTokenInvalid},
		{"refresh token", func(s *service) string { return s.issue(worker).refresh }, apierr.AccessTokenInvalid},
		{"expired", func(s *service) string { p := s.issue(worker); s.now.advance(time.Hour); return p.access }, apierr.AccessTokenExpired},
		{"revoked and expired", func(s *service) string {
			p := s.issue(worker)
			s.post("/oauth/revoke", worker, values("token", p.access))
			s.now.advance(time.Hour)
			return p.access
		}, apierr.AccessTokenExpired},
		{"revoked", func(s *service) string {
			p := s.issue(worker)
			s.post("/oauth/revoke", worker, values("token", p.access))
			return p.access
		}, apierr.AccessTokenInvalid},
		{"revoked, of a frozen app", func(s *service) string {
			p := s.issue(worker)
			s.post("/oauth/revoke", worker, values("token", p.refresh))
			s.setApp(worker, func(a *app.App) { a.Frozen = true })
			return p.access
		}, apierr.AccessTokenInvalid},
		{"of an app that is gone", func(s *service) string {
			p := s.issue(worker)
			if err := s.apps.Replace(s.list[1:]); err != nil {
				s.t.Fatal(err)
			}
			return p.access
		}, apierr.AppNotExist},
		{"of a frozen app, and of an old generation", func(s *service) string {
			p := s.issue(worker)
			s.setApp(worker, func(a *app.App) { a.Frozen, a.Generation = true, 1 })
			return p.access
		}, apierr.AppFrozen},
		{"of an old generation", func(s *service) string {
			p := s.issue(worker)
			s.setApp(worker, func(a *app.App) { a.Generation = 1 })
			return p.access
		}, apierr.AccessTokenInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			a := s.introspect(tt.make(s))
			want := fmt.Sprintf(`{"active":false,"error_code":%q,"error_msg":%q}`, tt.want.Code(), tt.want.Message())
			if a.status != 200 || string(a.body) != want {
				t.Errorf("%d %s, want %s", a.status, a.body, want)
			}
		})
	}
	t.Run("without reasons", func(t *testing.T) {
		t.Parallel()
		s := newService(t, func(c *httpapi.Config) { c.IntrospectReason = false })
		if a := s.introspect("nonsense"); string(a.body) != `{"active":false}` {
			t.Errorf("%s", a.body)
		}
	})
}

// Introspection and revocation authenticate their caller with the rules of the
// token endpoint.
func TestCallersAreAuthenticated(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
		for _, tt := range []struct {
			name        string
			contentType string
			body        string
			want        apierr.Row
		}{
			{"content type", "text/plain", "token=x", apierr.ContentTypeInvalid},
			{"repeated token", form, "token=x&token=y", apierr.AuthParameterInvalid},
			{"no client_id", form, "token=x", apierr.ClientIDMissing},
			{"no client_secret", form, "token=x&client_id=" + gateway, apierr.ClientSecretMissing},
			{"shape", form, "token=x&client_id=" + gateway + "&client_secret=x", apierr.KeyOrSecretMalformed},
			{"wrong secret", form, "token=x&client_id=" + gateway + "&client_secret=wrong-secret", apierr.CredentialsInvalid},
			{"frozen", form, "token=x&client_id=" + frozen + "&client_secret=" + secret, apierr.AppFrozen},
			{"untrusted address", form, "token=x&client_id=" + distant + "&client_secret=" + secret, apierr.IPNotTrusted},
			{"no token", form, "client_id=" + gateway + "&client_secret=" + secret, apierr.AuthParameterInvalid},
		} {
			t.Run(path+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				checkFailure(t, s, s.send(path, tt.contentType, tt.body), tt.want, "")
			})
		}
	}
	t.Run("the role comes before the token", func(t *testing.T) {
		t.Parallel()
		checkFailure(t, s, s.post("/oauth/introspect", worker, values()), apierr.AppNotAuthorized, "")
	})
}

func TestVerify(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := s.issue(worker, "through_data", "a b/é\"数")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		r, err := http.NewRequest(method, s.url+"/oauth/verify?scope=orders.read%20orders.write", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "bearer "+p.access)
		a := s.do(r)
		want := map[string]string{
			"X-App-Key": worker, "X-App-Scope": "orders.read orders.write",
			"X-Token-Expires": fmt.Sprint(s.now.Now().Unix() + 3600), "X-Through-Data": "a%20b%2F%C3%A9%22%E6%95%B0",
			"Cache-Control": "no-store",
		}
		for k, v := range want {
			if a.status != 200 || len(a.body) != 0 || a.header.Get(k) != v {
				t.Errorf("%s: %d, %s is %q, want %q", method, a.status, k, a.header.Get(k), v)
			}
		}
	}
}

// The headers are there even when they are empty: a gateway that copies them
// overwrites what its caller made up.
func TestVerifyHeadersAreAlwaysThere(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a := s.get(s.url+"/oauth/verify", "Authorization", "Bearer "+s.issue(gateway).access)
	for _, name := range []string{"X-App-Key", "X-App-Scope", "X-Token-Expires", "X-Through-Data"} {
		if len(a.header[name]) != 1 {
			t.Errorf("%s: %q", name, a.header[name])
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	s := newService(t)
	good := s.issue(worker).access
	narrow := s.issue(worker, "scope", "orders.read").access
	gone := s.issue(worker)
	s.post("/oauth/revoke", worker, values("token", gone.refresh))
	for _, tt := range []struct {
		name, query string
		auth        []string
		want        apierr.Row
		oauth       string
		nginx       int
	}{
		{name: "no token", want: apierr.AuthIncorrect, nginx: 401},
		{name: "empty token", auth: []string{"Bearer "}, want: apierr.AuthIncorrect, nginx: 401},
		{name: "another scheme", auth: []string{"Basic " + good}, want: apierr.AuthIncorrect, nginx: 401},
		{name: "two tokens", auth: []string{"Bearer " + good, "Bearer " + good}, want: apierr.AuthMethodInvalid, nginx: 403},
		{name: "nonsense", auth: []string{"Bearer nonsense"}, want: apierr.AccessTokenInvalid, nginx: 401},
		{name: "revoked", auth: []string{"Bearer " + gone.access}, want: apierr.AccessTokenInvalid, nginx: 401},
		{name: "scope missing", query: "scope=orders.write", auth: []string{"Bearer " + narrow}, want: apierr.AppNotAuthorized, oauth: "insufficient_scope", nginx: 403},
		{name: "mistyped parameter", query: "scopes=orders.write", auth: []string{"Bearer " + good}, want: apierr.AuthParameterInvalid, nginx: 403},
		{name: "empty scope", query: "scope=", auth: []string{"Bearer " + good}, want: apierr.AuthParameterInvalid, nginx: 403},
		{name: "blank scope", query: "scope=%20", auth: []string{"Bearer " + good}, want: apierr.AuthParameterInvalid, nginx: 403},
		{name: "two scopes", query: "scope=a&scope=b", auth: []string{"Bearer " + good}, want: apierr.AuthParameterInvalid, nginx: 403},
		{name: "malformed query", query: "scope=%zz", auth: []string{"Bearer " + good}, want: apierr.AuthParameterInvalid, nginx: 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var header []string
			for _, a := range tt.auth {
				header = append(header, "Authorization", a)
			}
			a := s.get(s.url+"/oauth/verify?"+tt.query, header...)
			checkFailure(t, s, a, tt.want, tt.oauth)
			if c := a.header.Get("WWW-Authenticate"); a.status == 401 && !strings.HasPrefix(c, `Bearer realm="authsvc"`) {
				t.Errorf("WWW-Authenticate %q", c)
			}
			a = s.get(s.url+"/oauth/verify?gateway=nginx&"+tt.query, header...)
			if a.status != tt.nginx || a.header.Get("X-Error-Status") != fmt.Sprint(tt.want.Status()) ||
				a.header.Get("X-Error-Code") != tt.want.Code() || a.header.Get("X-Error-Msg") != tt.want.Message() ||
				a.text("error_code") != tt.want.Code() {
				t.Errorf("for nginx: %d %v %s", a.status, a.header, a.body)
			}
		})
	}
	t.Run("unknown gateway", func(t *testing.T) {
		t.Parallel()
		checkFailure(t, s, s.get(s.url+"/oauth/verify?gateway=nginy", "Authorization", "Bearer "+good), apierr.AuthParameterInvalid, "")
	})
	t.Run("frozen app", func(t *testing.T) {
		t.Parallel()
		s := newService(t)
		p := s.issue(worker)
		s.setApp(worker, func(a *app.App) { a.Frozen = true })
		a := s.get(s.url+"/oauth/verify", "Authorization", "Bearer "+p.access)
		checkFailure(t, s, a, apierr.AppFrozen, "")
		if a.header.Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("Allow %q", a.header.Get("Allow"))
		}
	})
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	s := newService(t)
	active := func(tok string) bool { return s.introspect(tok).field("active") == true }
	revoke := func(key, tok string) received {
		return s.post("/oauth/revoke", key, values("token", tok, "token_type_hint", "nonsense"))
	}

	p := s.issue(worker)
	if a := revoke(worker, p.access); a.status != 200 || active(p.access) {
		t.Errorf("access token: %d %s, active %v", a.status, a.body, active(p.access))
	}
	p = s.refresh(worker, p) // the grant lives on
	if !active(p.access) {
		t.Error("the successor of a revoked access token is not active")
	}
	if a := revoke(worker, p.refresh); a.status != 200 || active(p.access) {
		t.Errorf("refresh token: %d %s, active %v", a.status, a.body, active(p.access))
	}
	for _, tok := range []string{p.refresh, p.access, "nonsense", "rt_nonsense"} {
		if a := revoke(worker, tok); a.status != 200 {
			t.Errorf("unknown token: %d %s", a.status, a.body)
		}
	}
	p = s.issue(other)
	checkFailure(t, s, revoke(worker, p.access), apierr.AccessTokenInvalid, "")
	checkFailure(t, s, revoke(worker, p.refresh), apierr.AppMismatch, "")
	if !active(p.access) {
		t.Error("another app's token was revoked")
	}
	s.now.advance(3 * time.Hour)
	for _, tok := range []string{p.access, p.refresh} {
		if a := revoke(other, tok); a.status != 200 {
			t.Errorf("expired token: %d %s", a.status, a.body)
		}
	}
}

// An unavailable store is 0613 on every endpoint that needs it, and nothing is
// guessed; with it back, all works again. Junk does not ask it at all.
func TestStoreOutOfReach(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := s.issue(worker)
	calls := map[string]func() received{
		"issue": func() received { return s.post("/oauth/token", worker, values("grant_type", "client_credentials")) },
		"refresh": func() received {
			return s.post("/oauth/token", worker, values("grant_type", "refresh_token", "refresh_token", p.refresh))
		},
		"introspect": func() received { return s.introspect(p.access) },
		"verify":     func() received { return s.get(s.url+"/oauth/verify", "Authorization", "Bearer "+p.access) },
		"revoke":     func() received { return s.post("/oauth/revoke", worker, values("token", p.access)) },
	}
	s.store.fail(fmt.Errorf("%w: the test has cut it off", token.ErrUnavailable))
	for name, call := range calls {
		a := call()
		checkFailure(t, s, a, apierr.Unavailable, "")
		if r := a.header.Get("Retry-After"); len(r) != 1 || r < "1" || r > "5" {
			t.Errorf("%s: Retry-After %q", name, r)
		}
		e := s.log.event(t, "request", a.header.Get("X-Request-Id"))
		if c, _ := e["cause"].(string); !strings.Contains(c, "cut it off") || strings.Contains(string(a.body), "cut it off") {
			t.Errorf("%s: cause %q in the log, body %s", name, c, a.body)
		}
	}
	if a := s.get(s.url+"/oauth/verify?gateway=nginx", "Authorization", "Bearer "+p.access); a.status != 403 || a.header.Get("X-Error-Status") != "503" {
		t.Errorf("for nginx: %d %v", a.status, a.header)
	}
	if a := s.get(s.admin + "/readyz"); a.status != 503 {
		t.Errorf("readyz: %d %s", a.status, a.body)
	}
	if a := s.get(s.admin + "/livez"); a.status != 200 {
		t.Errorf("livez: %d %s", a.status, a.body)
	}
	before := s.store.count()
	expired := func() pair {
		s.store.fail(nil)
		defer s.store.fail(token.ErrUnavailable)
		p := s.issue(worker)
		before = s.store.count()
		return p
	}()
	s.now.advance(3 * time.Hour)
	for _, tok := range []string{"nonsense", expired.access, expired.refresh} {
		s.introspect(tok)
		s.get(s.url+"/oauth/verify", "Authorization", "Bearer "+tok)
		s.post("/oauth/token", worker, values("grant_type", "refresh_token", "refresh_token", tok))
	}
	if n := s.store.count() - before; n != 0 {
		t.Errorf("junk and expired tokens asked the store %d times", n)
	}
	s.store.fail(nil)
	p = s.issue(worker)
	for _, name := range []string{"issue", "introspect", "verify", "refresh", "revoke"} {
		if a := calls[name](); a.status != 200 {
			t.Errorf("%s after the store came back: %d %s", name, a.status, a.body)
		}
	}
}

func TestUnforeseenIsOpaque(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store.fail(fmt.Errorf("a store that breaks its contract: %s", secret))
	a := s.post("/oauth/token", worker, values("grant_type", "client_credentials"))
	checkFailure(t, s, a, apierr.Internal, "")
	if strings.Contains(string(a.body), "contract") {
		t.Errorf("the cause is told: %s", a.body)
	}
}

// A token is good beyond 2106, and a time that no token can hold is nobody's fault but ours.
func TestTokensOfAnotherCentury(t *testing.T) {
	t.Parallel()
	now := &fakeNow{now: time.Date(2106, 2, 7, 6, 0, 0, 0, time.UTC)} // half an hour before 2^32 seconds
	s := newServiceOn(t, memory.New(now.Now), now)
	p := s.issue(worker)
	now.advance(time.Hour - time.Second)
	if a := s.introspect(p.access); !strings.Contains(string(a.body), `"exp":4294969200`) {
		t.Errorf("introspection: %s", a.body)
	}
	p = s.refresh(worker, p)
	now.advance(time.Hour)
	if a := s.introspect(p.access); !strings.Contains(string(a.body), "APIG.1002") {
		t.Errorf("an hour later: %s", a.body)
	}

	now = &fakeNow{now: time.UnixMilli(1 << 48)}
	s = newServiceOn(t, memory.New(now.Now), now)
	checkFailure(t, s, s.post("/oauth/token", worker, values("grant_type", "client_credentials")), apierr.Internal, "")
	if n := strings.Count(s.log.text(), "can't be encoded"); n != 1 {
		t.Errorf("the cause is logged %d times, want once:\n%s", n, s.log.text())
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	s := newService(t)
	r, err := http.NewRequest(http.MethodGet, s.url+"/.well-known/oauth-authorization-server", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.example.com"
	a := s.do(r)
	if a.status != 200 || a.text("issuer") != issuer || a.text("token_endpoint") != issuer+"/oauth/token" ||
		a.text("introspection_endpoint") != issuer+"/oauth/introspect" || a.text("revocation_endpoint") != issuer+"/oauth/revoke" ||
		strings.Contains(string(a.body), "evil") || !strings.Contains(string(a.body), `"response_types_supported":[]`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	s := newService(t)
	row := apierr.ThroughDataTooLong
	a := s.get(s.url+"/errors/APIG.2208", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language", "zh-CN,zh;q=0.9,en;q=0.8")
	if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Content-Language") != "zh" ||
		!strings.Contains(string(a.body), row.Fix(apierr.Chinese)) || !strings.Contains(string(a.body), row.Message()) {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	a = s.get(s.url+"/errors/APIG.2208", "Accept", "text/html")
	if a.header.Get("Content-Language") != "en" || !strings.Contains(string(a.body), "<dt>Fix</dt>") {
		t.Errorf("%v %s", a.header, a.body)
	}
	for _, header := range [][]string{{"Accept", "application/json"}, {"Accept", "*/*"}, nil} {
		var rows []map[string]any
		a = s.get(s.url+"/errors/APIG.0101?lang=zh", header...)
		if err := json.Unmarshal(a.body, &rows); err != nil || len(rows) != 2 || rows[1]["error_msg"] != apierr.APIMethodNotFound.Message() ||
			rows[0]["cause"] != apierr.APINotFound.Cause(apierr.Chinese) {
			t.Errorf("%v: %s", header, a.body)
		}
	}
	var rows []map[string]any
	if a = s.get(s.url + "/errors"); json.Unmarshal(a.body, &rows) != nil || len(rows) != 71 {
		t.Errorf("%d rows in %s", len(rows), a.body)
	}
	for _, code := range []string{"2208", "apig.2208"} {
		if a = s.get(s.url + "/errors/" + code); json.Unmarshal(a.body, &rows) != nil || rows[0]["error_code"] != "APIG.2208" {
			t.Errorf("%s: %s", code, a.body)
		}
	}
	checkFailure(t, s, s.get(s.url+"/errors/APIG.9999"), apierr.APINotFound, "")
	checkFailure(t, s, s.get(s.url+"/errors/"), apierr.APINotFound, "")
}

func TestUnusualRequestLines(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, tt := range []struct {
		method, path string
		want         apierr.Row
		allow        string
	}{
		{http.MethodOptions, "/oauth/token", apierr.APIMethodNotFound, "POST"},
		{http.MethodGet, "/oauth/introspect", apierr.APIMethodNotFound, "POST"},
		{"PROPFIND", "/errors", apierr.APIMethodNotFound, "GET, HEAD"},
		{http.MethodDelete, "/oauth/verify", apierr.APIMethodNotFound, "GET, POST, HEAD"},
		{http.MethodGet, "/", apierr.APINotFound, ""},
		{http.MethodPost, "//oauth/token", apierr.APINotFound, ""},
		{http.MethodPost, "/OAuth/Token", apierr.APINotFound, ""},
		{http.MethodGet, "/metrics", apierr.APINotFound, ""},
		{http.MethodGet, "/readyz", apierr.APINotFound, ""},
	} {
		r, err := http.NewRequest(tt.method, s.url+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a := s.do(r)
		checkFailure(t, s, a, tt.want, "")
		if got := a.header.Get("Allow"); !sameMembers(got, tt.allow) {
			t.Errorf("%s %s: Allow %q, want %q", tt.method, tt.path, got, tt.allow)
		}
	}
}

func sameMembers(a, b string) bool {
	x, y := strings.Split(a, ", "), strings.Split(b, ", ")
	for _, m := range x {
		if !strings.Contains(b, m) {
			return false
		}
	}
	return len(x) == len(y)
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for sent, logged := range map[string]any{"trace-7": "trace-7", "with space": nil, s.issue(worker).access: nil, s.issue(worker).access[3:]: nil} {
		a := s.get(s.url+"/oauth/verify", "X-Request-Id", sent)
		id := a.header.Get("X-Request-Id")
		if id == sent || s.log.event(t, "request", id)["caller_request_id"] != logged {
			t.Errorf("sent %q: answered %q, logged %v", sent, id, s.log.event(t, "request", id))
		}
	}
}

func TestForwardedAddress(t *testing.T) {
	t.Parallel()
	proxies := func(c *httpapi.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	}
	// The app trusts 192.0.2.0/24.
	for _, tt := range []struct {
		forwarded []string
		want      any // the client_ip in the log
		admitted  bool
	}{
		{nil, "127.0.0.1", false},
		{[]string{"192.0.2.7"}, "192.0.2.7", true},
		{[]string{"192.0.2.7:5555"}, "192.0.2.7", true},
		{[]string{"::ffff:192.0.2.7"}, "192.0.2.7", true},
		{[]string{"192.0.2.7, 10.1.2.3"}, "192.0.2.7", true},
		{[]string{"192.0.2.7", "10.1.2.3"}, "192.0.2.7", true},
		{[]string{"192.0.2.7, 198.51.100.1"}, "198.51.100.1", false},
		{[]string{"192.0.2.7", "198.51.100.1"}, "198.51.100.1", false},
		{[]string{"192.0.2.7, unknown"}, "", false},
		{[]string{"unknown"}, "", false},
		{[]string{"192.0.2.7, [2001:db8::1]:443"}, "2001:db8::1", false},
		{[]string{"10.1.2.3"}, "10.1.2.3", false},
	} {
		s := newService(t, proxies)
		s.setApp(distant, func(a *app.App) {
			a.TrustedIPs = append(a.TrustedIPs, netip.MustParsePrefix("127.0.0.0/8")) // the proxy's own
		})
		if tt.forwarded == nil {
			tt.admitted = true
		}
		c := goodCall(s, "client_credentials")
		c.form.Set("client_id", distant)
		c.header["X-Forwarded-For"] = tt.forwarded
		c.header.Set("X-Real-Ip", "192.0.2.7")
		a := c.send(s)
		e := s.log.event(t, "request", a.header.Get("X-Request-Id"))
		if (a.status == 200) != tt.admitted || e["client_ip"] != tt.want {
			t.Errorf("%q: %d, client_ip %v, want %v and %v", tt.forwarded, a.status, e["client_ip"], tt.admitted, tt.want)
		}
	}
	s := newService(t)
	c := goodCall(s, "client_credentials")
	c.form.Set("client_id", distant)
	c.header.Set("X-Forwarded-For", "192.0.2.7")
	checkFailure(t, s, c.send(s), apierr.IPNotTrusted, "")
}

func TestDraining(t *testing.T) {
	t.Parallel()
	s := newService(t)
	if a := s.get(s.admin + "/readyz"); a.status != 200 || string(a.body) != "ok\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.draining = true
	if a := s.get(s.admin + "/readyz"); a.status != 503 || !strings.Contains(string(a.body), "stopping") {
		t.Errorf("%d %s", a.status, a.body)
	}
	r, err := http.NewRequest(http.MethodGet, s.url+"/errors", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if !res.Close {
		t.Error("an answer does not ask for its connection to be closed")
	}
}
