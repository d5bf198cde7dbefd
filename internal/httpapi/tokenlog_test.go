package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/app"
	"authsvc/internal/token"
)

// flipped returns a token with another signature.
func flipped(tok string) string {
	c := byte('A')
	if tok[len(tok)-1] == c {
		c = 'B'
	}
	return tok[:len(tok)-1] + string(c)
}

// gone takes an app out of the registry.
func (s *service) gone(key string) {
	s.t.Helper()
	var left []app.App
	for _, a := range s.list {
		if a.Key != key {
			left = append(left, a)
		}
	}
	if err := s.apps.Replace(left); err != nil {
		s.t.Fatal(err)
	}
}

// What the log line of a request holds of the token that it presents: verdict, jti
// as soon as the signature proves it, and the app as soon as the grant does. Each row
// makes a token, presents it, and says what is known of it.
func TestTokensInTheLog(t *testing.T) {
	t.Parallel()
	introspect := func(s *service, tok string) received { return s.introspect(tok) }
	verify := func(s *service, tok string) received {
		return s.get(s.url+"/oauth/verify?scope=orders.read", "Authorization", "Bearer "+tok)
	}
	revoke := func(s *service, tok string) received { return s.post("/oauth/revoke", worker, values("token", tok)) }
	refresh := func(s *service, tok string) received { return s.refreshing(worker, tok) }

	access := func(s *service) string { return s.issue(worker).access }
	refreshToken := func(s *service) string { return s.issue(worker).refresh }
	after := func(d time.Duration, make func(*service) string) func(*service) string {
		return func(s *service) string { tok := make(s); s.now.advance(d); return tok }
	}
	forged := func(make func(*service) string) func(*service) string {
		return func(s *service) string { return flipped(make(s)) }
	}
	changed := func(make func(*service) string, change func(*app.App)) func(*service) string {
		return func(s *service) string { tok := make(s); s.setApp(worker, change); return tok }
	}
	unavailable := func(make func(*service) string) func(*service) string {
		return func(s *service) string { tok := make(s); s.store.fail(token.ErrUnavailable); return tok }
	}
	// revoked returns one of the tokens of a grant, of which one was revoked.
	revoked := func(returned, ended func(pair) string) func(*service) string {
		return func(s *service) string { p := s.issue(worker); revoke(s, ended(p)); return returned(p) }
	}
	accessOf, refreshOf := func(p pair) string { return p.access }, func(p pair) string { return p.refresh }
	nonsense := func(*service) string { return "at_nonsense" }
	freeze := func(a *app.App) { a.Frozen = true }
	void := func(a *app.App) { a.Generation++ }

	const unknown = "" // that nothing is logged of it
	for _, tt := range []struct {
		name     string
		make     func(*service) string
		present  map[string]func(*service, string) received
		code     string
		verdict  string // "": none
		jti      bool
		tokenApp string
	}{
		// Introspection answers ok, whatever the token is; verify with the verdict.
		{"good", access, nil, "ok", "active", true, worker},
		{"nonsense", nonsense, nil, "APIG.2203", "APIG.2203", false, unknown},
		{"forged", forged(access), nil, "APIG.2203", "APIG.2203", false, unknown},
		{"refresh token", refreshToken, nil, "APIG.2203", "APIG.2203", true, unknown},
		{"refresh token, forged", forged(refreshToken), nil, "APIG.2203", "APIG.2203", false, unknown},
		{"expired", after(time.Hour, access), nil, "APIG.1002", "APIG.1002", true, unknown},
		{"grant gone", revoked(accessOf, refreshOf), nil, "APIG.2203", "APIG.2203", true, unknown},
		{"revoked", revoked(accessOf, accessOf), nil, "APIG.2203", "APIG.2203", true, worker},
		{"of an app that is gone", func(s *service) string { tok := access(s); s.gone(worker); return tok }, nil, "APIG.1004", "APIG.1004", true, worker},
		{"of a frozen app", changed(access, freeze), nil, "APIG.0502", "APIG.0502", true, worker},
		{"of an old generation", changed(access, void), nil, "APIG.2203", "APIG.2203", true, worker},
		{"store unavailable", unavailable(access), nil, "APIG.0613", "", true, unknown},
		{"without a scope that is needed", func(s *service) string { return s.issue(worker, "scope", "orders.write").access }, only("verify", verify), "APIG.0304", "APIG.0304", true, worker},

		{"own access token", access, only("revoke", revoke), "ok", "revoked", true, worker},
		{"own refresh token", refreshToken, only("revoke", revoke), "ok", "revoked", true, worker},
		{"own refresh token, expired", after(2*time.Hour, refreshToken), only("revoke", revoke), "ok", "revoked", true, worker},
		{"own access token, expired", after(time.Hour, access), only("revoke", revoke), "ok", "APIG.1002", true, unknown},
		{"own access token, revoked before", revoked(accessOf, accessOf), only("revoke", revoke), "ok", "APIG.2203", true, worker},
		{"own access token, grant gone", revoked(accessOf, refreshOf), only("revoke", revoke), "ok", "APIG.2203", true, unknown},
		{"own refresh token, grant gone", revoked(refreshOf, refreshOf), only("revoke", revoke), "ok", "APIG.2202", true, unknown},
		{"nonsense", nonsense, only("revoke", revoke), "ok", "APIG.2203", false, unknown},
		{"nonsense of the other kind", func(*service) string { return "rt_nonsense" }, only("revoke", revoke), "ok", "APIG.2202", false, unknown},
		{"forged access token", forged(access), only("revoke", revoke), "ok", "APIG.2203", false, unknown},
		{"forged refresh token", forged(refreshToken), only("revoke", revoke), "ok", "APIG.2202", false, unknown},
		{"another app's access token", func(s *service) string { return s.issue(other).access }, only("revoke", revoke), "APIG.2203", "APIG.2203", true, unknown},
		{"another app's refresh token", func(s *service) string { return s.issue(other).refresh }, only("revoke", revoke), "APIG.1003", "APIG.1003", true, unknown},
		{"store unavailable", unavailable(access), only("revoke", revoke), "APIG.0613", "", true, unknown},

		{"good", refreshToken, only("refresh", refresh), "ok", "active", true, worker},
		{"repeated", func(s *service) string { p := s.issue(worker); s.refresh(worker, p); return p.refresh }, only("refresh", refresh), "ok", "active", true, worker},
		{"expired", after(3*time.Hour, refreshToken), only("refresh", refresh), "APIG.1001", "APIG.1001", true, unknown},
		{"expired just now", after(2*time.Hour, refreshToken), only("refresh", refresh), "APIG.1001", "APIG.1001", true, worker},
		{"another app's", func(s *service) string { return s.issue(other).refresh }, only("refresh", refresh), "APIG.1003", "APIG.1003", true, unknown},
		{"replayed", func(s *service) string {
			p := s.issue(worker)
			s.refresh(worker, p)
			s.now.advance(time.Minute)
			return p.refresh
		}, only("refresh", refresh), "APIG.2202", "APIG.2202", true, worker},
		{"superseded", func(s *service) string {
			p := s.issue(worker)
			s.refresh(worker, s.refresh(worker, p))
			return p.refresh
		}, only("refresh", refresh), "APIG.2202", "APIG.2202", true, worker},
		{"revoked", revoked(refreshOf, refreshOf), only("refresh", refresh), "APIG.2202", "APIG.2202", true, unknown},
		{"of an old generation", changed(refreshToken, void), only("refresh", refresh), "APIG.2202", "APIG.2202", true, worker},
		{"access token", access, only("refresh", refresh), "APIG.2202", "APIG.2202", true, unknown},
		{"access token, forged", forged(access), only("refresh", refresh), "APIG.2202", "APIG.2202", false, unknown},
		{"nonsense", nonsense, only("refresh", refresh), "APIG.2202", "APIG.2202", false, unknown},
		{"forged", forged(refreshToken), only("refresh", refresh), "APIG.2202", "APIG.2202", false, unknown},
		{"for a scope that it has not", refreshToken, only("refresh", func(s *service, tok string) received {
			return s.refreshing(worker, tok, "scope", "orders.delete")
		}), "APIG.2205", "APIG.2205", true, worker},
		{"store unavailable", unavailable(refreshToken), only("refresh", refresh), "APIG.0613", "", true, unknown},
	} {
		if tt.present == nil {
			tt.present = map[string]func(*service, string) received{"introspect": introspect, "verify": verify}
		}
		for how, present := range tt.present {
			t.Run(how+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				s := newService(t)
				tok := tt.make(s)
				a := present(s, tok)
				want := map[string]any{"code": tt.code, "app": worker, "verdict": nil, "jti": nil, "token_app": nil}
				if tt.verdict != "" {
					want["verdict"] = tt.verdict
				}
				if tt.jti {
					c, err := token.Decode(tok)
					if err != nil {
						t.Fatal(err)
					}
					want["jti"] = c.JTI()
				}
				if tt.tokenApp != unknown {
					want["token_app"] = tt.tokenApp
				}
				switch how {
				case "introspect": // the caller is the gateway, and it is told
					want["app"] = gateway
					if tt.verdict != "" {
						want["code"] = "ok"
					}
				case "verify": // the token is the credential
					want["app"] = tt.tokenApp
				}
				line, got := s.log.event(t, "request", a.header.Get("X-Request-Id")), map[string]any{}
				for name := range want {
					got[name] = line[name]
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%d %s, log line (-want +got):\n%s", a.status, a.body, d)
				}
				if strings.Contains(s.log.text(), tok[3:]) && tok != "at_nonsense" {
					t.Error("the log holds the token")
				}
			})
		}
	}
}

func only(how string, present func(*service, string) received) map[string]func(*service, string) received {
	return map[string]func(*service, string) received{how: present}
}

// Where no token is looked at, the line says nothing of one.
func TestNoTokenInTheLog(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := s.issue(worker)
	for name, a := range map[string]received{
		"issue":                          s.post("/oauth/token", worker, values("grant_type", "client_credentials")),
		"issue, with a token beside":     s.post("/oauth/token", worker, values("grant_type", "client_credentials", "refresh_token", p.refresh)),
		"issue, refused":                 s.post("/oauth/token", worker, values("grant_type", "client_credentials", "scope", "orders.delete")),
		"refresh of a frozen app":        s.post("/oauth/token", frozen, values("grant_type", "refresh_token", "refresh_token", p.refresh)),
		"introspection without the role": s.post("/oauth/introspect", worker, values("token", p.access)),
		"introspection without a token":  s.post("/oauth/introspect", gateway, values()),
		"revocation without a token":     s.post("/oauth/revoke", worker, values()),
		"verification without a token":   s.get(s.url + "/oauth/verify"),
		"verification with a mistake":    s.get(s.url+"/oauth/verify?scopes=x", "Authorization", "Bearer "+p.access),
		"path that is not there":         s.get(s.url+"/nowhere", "Authorization", "Bearer "+p.access),
	} {
		line := s.log.event(t, "request", a.header.Get("X-Request-Id"))
		for _, field := range []string{"verdict", "jti", "token_app"} {
			if v, ok := line[field]; ok {
				t.Errorf("%s (%d): %s is %v", name, a.status, field, v)
			}
		}
	}
	if a := s.get(s.url+"/oauth/verify", "Authorization", "Bearer "+p.access); a.status != http.StatusOK {
		t.Errorf("the token was no good: %d %s", a.status, a.body)
	}
}
