package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apierr "authsvc/internal/errors"
)

// A tokenCall is a good token request that faults are put into.
type tokenCall struct {
	method, path string
	host         string // "": the listener's
	header       http.Header
	form         url.Values
	extra        string // raw pairs after the form
	pad          int64  // bytes of an unknown parameter after them
	chunked      bool   // of unknown length
}

func (c *tokenCall) basic(id, secret string) {
	c.header.Add("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
}

func (c *tokenCall) send(s *service) received {
	s.t.Helper()
	body := c.form.Encode() + c.extra
	if c.pad > 0 {
		body += "&pad="
	}
	reader := io.MultiReader(strings.NewReader(body), io.LimitReader(endless('x'), c.pad))
	r, err := http.NewRequest(c.method, s.url+c.path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if !c.chunked {
		r.ContentLength = int64(len(body)) + c.pad
	}
	r.Header, r.Host = c.header.Clone(), c.host
	return s.do(r)
}

// A fault breaks one rule of the precedence table (doc.go, which
// TestPrecedenceDocumented compares).
type fault struct {
	rule    int
	name    string
	row     apierr.Row
	oauth   string   // where it is not the row's
	touches []string // parts of the request; two faults that share one exclude each other
	only    string   // the grant type that it needs, "" for either
	put     func(*service, *tokenCall)
}

// faults are the rows of the precedence table, in its order.
var faults = []fault{
	{
		rule: 0, name: "URI over 32 KiB", row: apierr.RequestURITooLarge, touches: []string{"uri"},
		put: func(_ *service, c *tokenCall) { c.path += "?" + strings.Repeat("x", 32<<10) },
	},
	{
		rule: 0, name: "one header over 32 KiB", row: apierr.RequestHeadersTooLarge, touches: []string{"headers"},
		put: func(_ *service, c *tokenCall) { c.header.Set("X-Pad", strings.Repeat("x", 32<<10)) },
	},
	{
		rule: 0, name: "all headers over 128 KiB", row: apierr.RequestHeadersTooLarge, touches: []string{"headers"},
		put: func(_ *service, c *tokenCall) {
			for i := range 5 {
				c.header.Set(fmt.Sprintf("X-Pad-%d", i), strings.Repeat("x", 30<<10))
			}
		},
	},
	{
		rule: 0, name: "unknown path", row: apierr.APINotFound, touches: []string{"path"},
		put: func(_ *service, c *tokenCall) { c.path = strings.Replace(c.path, "/oauth/token", "/oauth/tokens", 1) },
	},
	{
		rule: 0, name: "trailing slash", row: apierr.APINotFound, touches: []string{"path"},
		put: func(_ *service, c *tokenCall) { c.path = strings.Replace(c.path, "/oauth/token", "/oauth/token/", 1) },
	},
	{
		rule: 0, name: "another method", row: apierr.APIMethodNotFound, touches: []string{"method"},
		put: func(_ *service, c *tokenCall) { c.method = http.MethodPut },
	},
	{
		rule: 0, name: "body over 12 MiB", row: apierr.RequestEntityTooLarge, touches: []string{"size"},
		put: func(_ *service, c *tokenCall) { c.pad = 12 << 20 },
	},
	{
		rule: 0, name: "body over 12 MiB, of unknown length", row: apierr.RequestEntityTooLarge, touches: []string{"size"},
		put: func(_ *service, c *tokenCall) { c.pad, c.chunked = 12<<20, true },
	},

	{
		rule: 1, name: "content type of JSON", row: apierr.ContentTypeInvalid, touches: []string{"content type"},
		put: func(_ *service, c *tokenCall) { c.header.Set("Content-Type", "application/json") },
	},
	{
		rule: 1, name: "no content type", row: apierr.ContentTypeInvalid, touches: []string{"content type"},
		put: func(_ *service, c *tokenCall) { c.header.Del("Content-Type") },
	},
	{
		rule: 1, name: "charset that is not UTF-8", row: apierr.ContentTypeInvalid, touches: []string{"content type"},
		put: func(_ *service, c *tokenCall) {
			c.header.Set("Content-Type", "application/x-www-form-urlencoded; charset=gbk")
		},
	},

	{
		rule: 2, name: "scheme Bearer", row: apierr.AuthMethodInvalid, touches: []string{"authorization"},
		put: func(_ *service, c *tokenCall) { c.header.Set("Authorization", "Bearer at_x") },
	},
	{
		rule: 2, name: "Basic and client_secret", row: apierr.AuthMethodInvalid, touches: []string{"authorization", "secret"},
		put: func(_ *service, c *tokenCall) { c.basic(c.form.Get("client_id"), secret) },
	},
	{
		rule: 2, name: "Basic and another client_id", row: apierr.AuthMethodInvalid, touches: []string{"authorization", "secret", "id"},
		put: func(_ *service, c *tokenCall) {
			c.form.Del("client_secret")
			c.basic(other, secret)
		},
	},
	{
		rule: 2, name: "two Authorization headers", row: apierr.AuthMethodInvalid, touches: []string{"authorization", "secret"},
		put: func(_ *service, c *tokenCall) {
			c.form.Del("client_secret")
			c.basic(worker, secret)
			c.basic(worker, secret)
		},
	},

	{
		rule: 3, name: "percent sign without digits", row: apierr.AuthParameterInvalid, touches: []string{"extra"},
		put: func(_ *service, c *tokenCall) { c.extra += "&x=%zz" },
	},
	{
		rule: 3, name: "known parameter repeated", row: apierr.AuthParameterInvalid, touches: []string{"extra"},
		put: func(_ *service, c *tokenCall) { c.extra += "&scope=orders.read&scope=orders.read" },
	},
	{
		rule: 3, name: "invalid UTF-8 in an unknown parameter", row: apierr.AuthParameterInvalid, touches: []string{"extra"},
		put: func(_ *service, c *tokenCall) { c.extra += "&x=%ff" },
	},
	{
		rule: 3, name: "NUL in the name of an unknown parameter", row: apierr.AuthParameterInvalid, touches: []string{"extra"},
		put: func(_ *service, c *tokenCall) { c.extra += "&x%00=1" },
	},
	{
		rule: 3, name: "malformed Basic", row: apierr.AuthParameterInvalid, touches: []string{"authorization", "secret"},
		put: func(_ *service, c *tokenCall) {
			c.form.Del("client_secret")
			c.header.Set("Authorization", "Basic !!")
		},
	},

	{
		rule: 4, name: "grant_type missing", row: apierr.GrantTypeMissing, touches: []string{"grant type"},
		put: func(_ *service, c *tokenCall) { c.form.Del("grant_type") },
	},
	{
		rule: 4, name: "grant_type unsupported", row: apierr.GrantTypeUnsupported, touches: []string{"grant type"},
		put: func(_ *service, c *tokenCall) { c.form.Set("grant_type", "password") },
	},
	{
		rule: 4, name: "grant_type in the wrong case", row: apierr.GrantTypeUnsupported, touches: []string{"grant type"},
		put: func(_ *service, c *tokenCall) { c.form.Set("grant_type", "Client_Credentials") },
	},

	{
		rule: 5, name: "client_id missing", row: apierr.ClientIDMissing, touches: []string{"id"},
		put: func(_ *service, c *tokenCall) { c.form.Set("client_id", "") },
	},
	{
		rule: 5, name: "client_secret missing", row: apierr.ClientSecretMissing, touches: []string{"secret"},
		put: func(_ *service, c *tokenCall) { c.form.Del("client_secret") },
	},
	{
		rule: 5, name: "refresh_token missing", row: apierr.RefreshTokenMissing, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(_ *service, c *tokenCall) { c.form.Del("refresh_token") },
	},

	{
		rule: 6, name: "through_data over 300", row: apierr.ThroughDataTooLong, touches: []string{"through_data"},
		put: func(_ *service, c *tokenCall) { c.form.Set("through_data", strings.Repeat("数", 301)) },
	},

	{
		rule: 7, name: "client_id of the wrong shape", row: apierr.KeyOrSecretMalformed, touches: []string{"id"},
		put: func(_ *service, c *tokenCall) { c.form.Set("client_id", "billing worker") },
	},
	{
		rule: 7, name: "client_secret of the wrong shape", row: apierr.KeyOrSecretMalformed, touches: []string{"secret"},
		put: func(_ *service, c *tokenCall) { c.form.Set("client_secret", "short") },
	},

	{
		rule: 9, name: "unknown app", row: apierr.CredentialsInvalid, touches: []string{"id"},
		put: func(_ *service, c *tokenCall) { c.form.Set("client_id", "nobody-knows-me") },
	},
	{
		rule: 9, name: "wrong secret", row: apierr.CredentialsInvalid, touches: []string{"secret"},
		put: func(_ *service, c *tokenCall) { c.form.Set("client_secret", "wrong-Secret-0001") },
	},

	{
		rule: 10, name: "frozen app", row: apierr.AppFrozen, touches: []string{"id"},
		put: func(_ *service, c *tokenCall) { c.form.Set("client_id", frozen) },
	},
	{
		rule: 10, name: "untrusted address", row: apierr.IPNotTrusted, touches: []string{"id"},
		put: func(_ *service, c *tokenCall) { c.form.Set("client_id", distant) },
	},

	{
		rule: 11, name: "scope not the app's", row: apierr.AuthParameterInvalid, oauth: "invalid_scope", touches: []string{"scope"}, only: "client_credentials",
		put: func(_ *service, c *tokenCall) { c.form.Set("scope", "orders.delete") },
	},

	{
		rule: 12, name: "refresh token malformed", row: apierr.RefreshTokenInvalid, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(_ *service, c *tokenCall) { c.form.Set("refresh_token", "rt_nonsense") },
	},
	{
		rule: 12, name: "refresh token forged", row: apierr.RefreshTokenInvalid, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(s *service, c *tokenCall) {
			t := []byte(s.issue(worker).refresh)
			t[40] ^= 1 // another character of the same alphabet, or none
			c.form.Set("refresh_token", string(t))
		},
	},
	{
		rule: 12, name: "access token as refresh token", row: apierr.RefreshTokenInvalid, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(s *service, c *tokenCall) { c.form.Set("refresh_token", s.issue(worker).access) },
	},

	{
		rule: 13, name: "refresh token of another app", row: apierr.AppMismatch, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(s *service, c *tokenCall) { c.form.Set("refresh_token", s.issue(other).refresh) },
	},
	{
		rule: 13, name: "expired refresh token of another app", row: apierr.AppMismatch, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(s *service, c *tokenCall) {
			c.form.Set("refresh_token", s.issue(other).refresh)
			s.now.advance(3 * time.Hour)
		},
	},

	{
		rule: 14, name: "refresh token expired", row: apierr.RefreshTokenExpired, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(s *service, c *tokenCall) {
			c.form.Set("refresh_token", s.issue(worker).refresh)
			s.now.advance(2 * time.Hour)
		},
	},
	{
		rule: 14, name: "refresh token revoked and expired", row: apierr.RefreshTokenExpired, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(s *service, c *tokenCall) {
			p := s.issue(worker)
			s.post("/oauth/revoke", worker, values("token", p.refresh))
			c.form.Set("refresh_token", p.refresh)
			s.now.advance(2 * time.Hour)
		},
	},

	{
		rule: 15, name: "refresh token revoked", row: apierr.RefreshTokenInvalid, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(s *service, c *tokenCall) {
			p := s.issue(worker)
			s.post("/oauth/revoke", worker, values("token", p.refresh))
			c.form.Set("refresh_token", p.refresh)
		},
	},
	{
		rule: 15, name: "refresh token replayed", row: apierr.RefreshTokenInvalid, touches: []string{"refresh token"}, only: "refresh_token",
		put: func(s *service, c *tokenCall) {
			p := s.issue(worker)
			s.refresh(worker, p)
			c.form.Set("refresh_token", p.refresh)
			s.now.advance(time.Minute)
		},
	},

	{
		rule: 16, name: "scope wider than the grant's", row: apierr.AuthParameterInvalid, oauth: "invalid_scope", touches: []string{"scope"}, only: "refresh_token",
		put: func(_ *service, c *tokenCall) { c.form.Set("scope", "orders.read orders.delete") },
	},
	{
		rule: 16, name: "scope without a name", row: apierr.AuthParameterInvalid, oauth: "invalid_scope", touches: []string{"scope"}, only: "refresh_token",
		put: func(_ *service, c *tokenCall) { c.form.Set("scope", " ") },
	},
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

// goodCall is a token request that succeeds.
func goodCall(s *service, grantType string) *tokenCall {
	c := &tokenCall{
		method: http.MethodPost, path: "/oauth/token",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		form:   url.Values{"grant_type": {grantType}, "client_id": {worker}, "client_secret": {secret}},
	}
	if grantType == "refresh_token" {
		c.form.Set("refresh_token", s.issue(worker).refresh)
	}
	return c
}

func grantTypes(faults ...fault) []string {
	types := []string{"client_credentials", "refresh_token"}
	return slices.DeleteFunc(types, func(g string) bool {
		return slices.ContainsFunc(faults, func(f fault) bool { return f.only != "" && f.only != g })
	})
}

// Each row of the precedence table, alone: what the caller is told, and what the
// log says.
func TestPrecedenceRows(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		for _, grant := range grantTypes(f) {
			t.Run(fmt.Sprintf("%d %s/%s", f.rule, f.name, grant), func(t *testing.T) {
				t.Parallel()
				s := newService(t)
				c := goodCall(s, grant)
				f.put(s, c)
				a := c.send(s)
				checkFailure(t, s, a, f.row, f.oauth)
			})
		}
	}
}

var requestID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// descriptionChars are those of RFC 6749 section 5.2.
var descriptionChars = regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`)

// checkFailure checks the whole envelope of a failure, and its log event.
func checkFailure(t *testing.T, s *service, a received, row apierr.Row, oauth string) {
	t.Helper()
	if oauth == "" {
		oauth = row.OAuthName()
	}
	id := a.header.Get("X-Request-Id")
	if a.status != row.Status() || a.text("error_code") != row.Code() || a.text("error_msg") != row.Message() || a.text("error") != oauth {
		t.Fatalf("answered %d %s, want %d %s %s (%s)", a.status, a.body, row.Status(), row.Code(), row.Message(), oauth)
	}
	if !requestID.MatchString(id) || a.text("request_id") != id {
		t.Errorf("request_id %q, X-Request-Id %q: want 32 hex digits, the same", a.text("request_id"), id)
	}
	if d := a.text("error_description"); !descriptionChars.MatchString(d) {
		t.Errorf("error_description %q", d)
	}
	if uri := a.text("error_uri"); uri != issuer+"/errors/"+row.Code() {
		t.Errorf("error_uri %q", uri)
	}
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
		t.Errorf("header %v", a.header)
	}
	if got := a.header.Get("WWW-Authenticate") != ""; got != (a.status == http.StatusUnauthorized) {
		t.Errorf("WWW-Authenticate %q with %d", a.header.Get("WWW-Authenticate"), a.status)
	}
	wantAllow := a.status == http.StatusMethodNotAllowed || row == apierr.APIMethodNotFound
	if got := a.header.Get("Allow") != ""; got != wantAllow {
		t.Errorf("Allow %q with %d", a.header.Get("Allow"), a.status)
	}
	e := s.log.event(t, "request", id)
	level := "WARN"
	if row.Status() >= 500 {
		level = "ERROR"
	}
	if e["level"] != level || e["code"] != row.Code() || e["status"] != float64(a.status) || e["error"] != oauth ||
		e["bytes"] != float64(len(a.body)) || e["client_ip"] != "127.0.0.1" || e["endpoint"] == "" || e["hint"] == "" || e["duration"] == nil {
		t.Errorf("log event %v", e)
	}
}

// Of two faults in one request the lower-numbered rule answers; within rule 0 the
// earlier of the list.
func TestPrecedencePairs(t *testing.T) {
	t.Parallel()
	pairs := 0
	for i, first := range faults {
		for _, second := range faults[i+1:] {
			if first.rule == second.rule && first.rule != 0 || slices.ContainsFunc(first.touches, func(p string) bool { return slices.Contains(second.touches, p) }) {
				continue
			}
			for _, grant := range grantTypes(first, second) {
				if first.touches[0] == "size" && second.rule > 3 && grant != "refresh_token" {
					continue // 12 MiB take their time, and say nothing new
				}
				pairs++
				t.Run(first.name+" and "+second.name+"/"+grant, func(t *testing.T) {
					t.Parallel()
					s := newService(t)
					c := goodCall(s, grant)
					// Faults that need tokens of the clean service come first
					// in time; the order in which they are put does not matter.
					second.put(s, c)
					first.put(s, c)
					a := c.send(s)
					want := first
					if want.oauth == "" {
						want.oauth = first.row.OAuthName()
					}
					if a.status != want.row.Status() || a.text("error_msg") != want.row.Message() || a.text("error") != want.oauth {
						t.Errorf("answered %d %s; want rule %d: %s (%s)", a.status, a.body, first.rule, first.row, want.oauth)
					}
				})
			}
		}
	}
	if pairs < 700 {
		t.Errorf("only %d pairs of faults were tried", pairs)
	}
}
