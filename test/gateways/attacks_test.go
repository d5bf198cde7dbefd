package gateways

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
)

// attack is a request of a caller who has a token for orders.read, or none, and wants
// more. It is sent byte for byte: no HTTP client would send most of these.
type attack struct {
	name string
	text string // "\n" is sent as CRLF, {token} as the caller's token, {host} as the gateway's address
	want verdict
}

// verdict is what must become of an attack.
type verdict int

const (
	refused  verdict = iota // nothing reaches the API
	harmless                // it is refused, or reaches the API as it was sent, in the caller's own name
	passed                  // it reaches the API as it was sent, in the caller's own name
	nobody                  // it is refused, or reaches the API as it was sent, in nobody's name
	nameless                // it reaches the API as it was sent, in nobody's name
)

// forged marks what a caller says about itself.
const forged = "forged-7f3a"

const withToken = " HTTP/1.1\nHost: {host}\nAuthorization: Bearer {token}\n"

// methods returns calls with every method. authsvc has to be asked about each of them.
func methods() []attack {
	var rows []attack
	preflight := "Origin: https://app.example\nAccess-Control-Request-Method: PUT\n"
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "BREW", "options", "Options", "get", "X-OPTIONS"} {
		line := m + " /orders/7 HTTP/1.1\nHost: {host}\n"
		with := passed
		if strings.ToUpper(m) != m || m == "TRACE" || m == "CONNECT" || m == "BREW" || m == "X-OPTIONS" {
			with = harmless // a gateway may know no such method
		}
		rows = append(
			rows,
			attack{m + " with a token", line + "Authorization: Bearer {token}\n\n", with},
			attack{m + " without a token", line + "\n", refused},
			attack{m + " with a body", line + "Content-Length: 4\n\nbody", refused},
			attack{m + " in chunks", line + "Transfer-Encoding: chunked\n\n4\nbody\n0\n\n", refused},
			attack{m + " like a preflight", line + preflight + "\n", refused},
			attack{m + " like a preflight, with a body", line + preflight + "Content-Length: 4\n\nbody", refused},
			attack{m + " like a preflight, in chunks", line + preflight + "Transfer-Encoding: chunked\n\n4\nbody\n0\n\n", refused},
			attack{m + " with another scheme", line + "Authorization: Basic YTpi\n\n", refused},
			attack{m + " with an empty token", line + "Authorization: Bearer\n\n", refused},
			attack{m + " with a bad token", line + "Authorization: Bearer nonsense\n\n", refused},
		)
	}
	for _, h := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Forwarded-Method", "X-Original-Method"} {
		for _, m := range []string{"GET", "POST"} {
			line := m + " /orders/7 HTTP/1.1\nHost: {host}\nContent-Length: 0\n" + h + ": OPTIONS\n"
			rows = append(
				rows,
				attack{m + " with " + h, line + "\n", refused},
				attack{m + " with a token and " + h, line + "Authorization: Bearer {token}\n\n", passed},
			)
		}
	}
	return append(
		rows,
		attack{"OPTIONS *", "OPTIONS * HTTP/1.1\nHost: {host}\n\n", refused},
		attack{"CONNECT to the API", "CONNECT api:80 HTTP/1.1\nHost: api:80\n\n", refused},
		attack{"HTTP/1.0", "GET /orders/7 HTTP/1.0\n\n", refused},
		attack{"HTTP/1.0 with a token", "GET /orders/7 HTTP/1.0\nHost: {host}\nAuthorization: Bearer {token}\n\n", passed},
		attack{"HTTP/0.9", "GET /orders/7\n\n", refused},
	)
}

// paths returns calls with a token for orders.read, whose path is not what it seems.
func paths() []attack {
	var rows []attack
	add := func(want verdict, targets ...string) {
		for _, t := range targets {
			rows = append(rows, attack{fmt.Sprintf("%q", t), "GET " + t + withToken + "\n", want})
		}
	}
	add(
		refused,
		// Paths that a normalised scope check and the API take for different ones.
		"/invoices/42/../../orders/1", "/orders/../invoices/42", "/invoices/..//orders/1", "/orders/./7", "/orders/7/.", "/orders/7/..", "/./orders/7", "/../orders/7",
		"/invoices/42/%2e%2e/%2E%2E/orders/1", "/orders/%2e%2e/invoices/42", "/orders/%2e./invoices/42", "/orders/.%2E/invoices/42", "/orders/%252e%252e/invoices/42", "/orders/7/%2e",
		"/orders%2F7", "/orders/..%2finvoices/42", "/orders/%2E%2E%2Finvoices%2F42", "/orders/7%2f..%2f..%2finvoices", "/invoices%2f..%2forders/7", "/orders/%252F7",
		"//orders/7", "/orders//7", "/orders/7//", "/invoices//../orders/7", "///orders/7", "/orders///../../invoices/42",
		"/orders;a=b/7", "/orders/7;a=b", "/orders/..;/invoices/42", "/orders/..;a=b/invoices/42", "/orders/;/../invoices", "/orders/%3b/7", "/orders/..%3B/invoices/42", "/invoices;/../orders/1",
		`/orders\7`, `/orders/..\invoices\42`, `/orders/\..\invoices`, "/orders/..%5cinvoices/42", "/orders%5C7", "/orders/7%5c..%5c..%5cinvoices", `\orders\7`,
		"/orders/7%00", "/orders/%00/../invoices/42", "/orders/7\x00", "/orders/7\x01", "/orders/%0d%0aX-App-Key:%20admin", "/orders/%09", "/orders/7%7f", "/orders/7\t", "/orders/%01",
		"/ORDERS/7", "/Orders/7", "/%6frders/7", "/%4frders/7", "/orders%2e/7", "/orders/%37", "/orders/%5f", "/orders/%7e7",
		"/orders./7", "/orders%20/7", "/orders /7", "/orders.../7", "/orders/.../invoices", "/orders/.. /invoices/42", "/orders/..%20/invoices/42", "/orders/..%09/invoices/42", "/orders/..../invoices/42", "/orders/.git/config",
		"/orders/%c0%ae%c0%ae/invoices/42", "/orders/..%c0%afinvoices/42", "/orders/%C1%9C../invoices/42", "/orders/%u002e%u002e/invoices/42", "/orders/%zz", "/orders/%", "/orders/%2", "/orders/\xc3\xa9", "/orders/\xff",
		"/orders/7#", "/orders/7#/../../invoices/42", "#/orders/7", "/invoices/42#/orders/7", "/invoices/42?/../orders/1", "/invoices/42%3F/../orders/1", "/invoices/42%23/../../orders/1",
		"orders/7", "../orders/7", "/", "/orders", "/ordersX/7", "*", "?/orders/7", "http:/orders/7", "http://{host}", "http://{host}/invoices/42", "http://{host}/orders/../invoices/42", "http://{host}/invoices/../orders/7", "http://{host}?/orders/7", "http://{host}/invoices/42#/orders/7",
	)
	add(
		harmless,
		"http://{host}/orders/7", "HTTP://{host}/orders/7", "http://user:pass@{host}/orders/7", "https://{host}/orders/7", "ftp://{host}/orders/7", "/orders/7#?",
	)
	add(
		passed,
		"/orders/", "/orders/7", "/orders/7/", "/orders/7/lines/2", "/orders/7.pdf", "/orders/a.b..c/d.", "/orders/-_~7", "/orders/a:b@c,d=e+f", "/orders/(7)!$&'*",
		"/orders/a%20b", "/orders/caf%C3%A9", "/orders/a%3Ab", "/orders/7?", "/orders/7?a=b&c=../..//;%2e%2F", "/orders/7?scope=invoices.read&gateway=nginx", "/orders/7?a?b",
		"/orders/"+strings.Repeat("a%20.b/", 500), "/orders/"+strings.Repeat("a", 7800), "/orders/"+strings.Repeat("a.", 3900),
	)
	add(refused, "/orders/"+strings.Repeat("%20", 2500)+"//", "/orders/"+strings.Repeat("a/", 3900)+".")
	return rows
}

// headers returns calls with a token for orders.read, whose headers, if the API or the
// gateway believed them, would make another caller of the sender.
func headers() []attack {
	names := []string{"X-App-Key", "X-App-Scope", "X-Token-Expires", "X-Through-Data"}
	var rows []attack
	add := func(want verdict, name, text string) {
		rows = append(rows, attack{name, "GET /orders/7" + withToken + text + "\n", want})
	}
	for _, connection := range []string{"Connection", "connection", "Proxy-Connection", "Keep-Alive", "Te", "Upgrade", "Trailer"} {
		for _, value := range []string{
			"X-App-Key, X-App-Scope, X-Token-Expires, X-Through-Data", "close, X-App-Key", "keep-alive,x-app-key,x-app-scope", "X-App-Key", "Authorization", "close, Authorization, X-App-Key", "trailers, X-App-Key", "Connection, X-App-Key", "Cookie,Host, X-App-Key",
		} {
			add(harmless, connection+": "+value, connection+": "+value+"\n")
			add(harmless, connection+": "+value+", and forged", connection+": "+value+"\nX-App-Key: "+forged+"\n")
		}
	}
	add(harmless, "two Connection lines", "Connection: close\nConnection: X-App-Key\n")
	add(harmless, "two Connection lines, the other way round", "Connection: X-App-Key\nConnection: close\n")
	add(passed, "Connection: close", "Connection: close\n")
	add(passed, "Connection: keep-alive", "Connection: keep-alive\n")

	for _, name := range names {
		add(passed, name, name+": "+forged+"\n")
		add(passed, name+", lower case", strings.ToLower(name)+": "+forged+"\n")
		add(passed, name+", upper case", strings.ToUpper(name)+": "+forged+"\n")
		add(passed, name+", twice", name+": "+forged+"\n"+strings.ToLower(name)+": "+forged+"2\n")
		add(passed, name+", empty", name+":\n")
		add(harmless, name+", with a blank before the colon", name+" : "+forged+"\n")
		add(harmless, name+", with a tab before the colon", name+"\t: "+forged+"\n")
		add(harmless, name+", after a blank", " "+name+": "+forged+"\n")
		add(harmless, name+", folded", name+":\n "+forged+"\n")
		add(harmless, name+", folded into another", "X-Other: a\n "+name+": "+forged+"\n")
		add(harmless, name+", after a bare CR", "X-Other: a\r"+name+": "+forged+"\n")
		add(harmless, name+", after a NUL", "X-Other: a\x00"+name+": "+forged+"\n")
		add(harmless, name+", ended by a NUL", name+"\x00: "+forged+"\n")
		add(harmless, name+", without a colon", name+"\n")
		// CGI, WSGI, PHP and Rack read X_App_Key as X-App-Key, and some read every
		// character so that may stand in a name.
		for _, c := range "_.!#$%&'*+^`|~" {
			sep := string(c)
			first := strings.Replace(name, "-", sep, 1)
			add(harmless, first, first+": "+forged+"\n")
			last := strings.Replace(strings.ReplaceAll(name, "-", sep), sep, "-", 1)
			add(harmless, last, last+": "+forged+"\n")
			every := strings.ReplaceAll(name, "-", sep)
			add(harmless, every, every+": "+forged+"\n")
			add(harmless, strings.ToLower(every), strings.ToLower(every)+": "+forged+"\n")
			add(harmless, every+", empty", every+":\n")
			add(harmless, every+", twice", every+": "+forged+"\n"+every+":\n")
		}
		add(harmless, strings.ReplaceAll(name, "-", ".")+", hidden by an empty one", strings.ReplaceAll(name, "-", ".")+": "+forged+"\n"+strings.ReplaceAll(name, "-", "!")+":\n")
		add(harmless, strings.ReplaceAll(name, "-", "_")+", hidden by an empty one", strings.ReplaceAll(name, "-", "_")+": "+forged+"\n"+strings.ReplaceAll(name, "-", "!")+":\n")
		add(harmless, name+", two characters", strings.Replace(strings.Replace(name, "-", "_", 1), "-", ".", 1)+": "+forged+"\n")
		chunked := "POST /orders/7" + withToken + "Transfer-Encoding: chunked\n"
		rows = append(
			rows,
			attack{name + ", in an announced trailer", chunked + "Trailer: " + name + "\n\n4\nbody\n0\n" + name + ": " + forged + "\n\n", harmless},
			attack{name + ", in a trailer", chunked + "\n4\nbody\n0\n" + name + ": " + forged + "\n\n", harmless},
			attack{strings.ReplaceAll(name, "-", "_") + ", in a trailer", chunked + "\n4\nbody\n0\n" + strings.ReplaceAll(name, "-", "_") + ": " + forged + "\n\n", harmless},
		)
	}

	// What could change the answer of authsvc, or what the gateway makes of it.
	for _, h := range []string{
		"Expect: 100-continue", "Range: bytes=0-0", "If-None-Match: *", "If-Match: *", `If-Match: "x"`, "If-Modified-Since: Wed, 25 Nov 2099 00:00:00 GMT", "If-Unmodified-Since: Wed, 25 Nov 1999 00:00:00 GMT",
		"Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Upgrade: h2c\nConnection: Upgrade, HTTP2-Settings\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", "Te: trailers",
		"X-Forwarded-Method: OPTIONS", "X-Forwarded-Uri: /invoices/42", "X-Original-URI: /invoices/42", "X-Original-URL: /invoices/42", "X-Rewrite-URL: /invoices/42", "X-Forwarded-Prefix: /invoices", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: authsvc", "Forwarded: for=127.0.0.1",
		"X-Error-Status: 200", "X-Request-Id: " + forged, "Cookie: access_token=" + forged, "Accept: text/html", "Accept-Encoding: gzip", "Content-Type: application/x-www-form-urlencoded", "Proxy-Authorization: Bearer nonsense", "X-Authorization: Bearer nonsense", "Incremental: ?1", "Max-Forwards: 0", "Cache-Control: only-if-cached, no-cache", "Pragma: no-cache",
	} {
		want := harmless
		switch {
		case strings.HasPrefix(h, "X-"), strings.HasPrefix(h, "Range"), strings.HasPrefix(h, "If-None"), strings.HasPrefix(h, "Accept"), strings.HasPrefix(h, "Cookie"):
			want = passed
		}
		add(want, h, h+"\n")
		rows = append(rows, attack{h + ", without a token", "GET /orders/7 HTTP/1.1\nHost: {host}\n" + h + "\n\n", refused})
		rows = append(rows, attack{h + ", for what the token does not open", "GET /invoices/42" + withToken + h + "\n\n", refused})
	}
	add(harmless, "two tokens", "Authorization: Bearer nonsense\n")
	add(harmless, "two Hosts", "Host: other\n")
	return append(
		rows,
		attack{"a token in other letters", "GET /orders/7 HTTP/1.1\nHost: {host}\nAUTHORIZATION: bearer {token}\n\n", harmless},
		attack{"a folded token", "GET /orders/7 HTTP/1.1\nHost: {host}\nAuthorization: Bearer\n {token}\n\n", harmless},
		attack{"a token in the query", "GET /orders/7?access_token={token} HTTP/1.1\nHost: {host}\n\n", refused},
		attack{"a token in the query of another path", "GET /orders/7?authorization=Bearer%20{token} HTTP/1.1\nHost: {host}\n\n", refused},
		attack{"a token in a cookie", "GET /orders/7 HTTP/1.1\nHost: {host}\nCookie: access_token={token}; Authorization=Bearer%20{token}\n\n", refused},
		attack{"a token in the form", "POST /orders/7 HTTP/1.1\nHost: {host}\nContent-Type: application/x-www-form-urlencoded\nContent-Length: 7\n\ntoken=x", refused},
		attack{"a token as Proxy-Authorization", "GET /orders/7 HTTP/1.1\nHost: {host}\nProxy-Authorization: Bearer {token}\n\n", refused},
		attack{"a token in a trailer", "POST /orders/7 HTTP/1.1\nHost: {host}\nTransfer-Encoding: chunked\nTrailer: Authorization\n\n0\nAuthorization: Bearer {token}\n\n", refused},
		attack{"a scope in the query", "GET /invoices/42?scope=orders.read" + withToken + "\n", refused},
		attack{"the address of the check", "GET /_authsvc" + withToken + "\n", refused},
		attack{"the address of a refusal", "GET /oauth/verify" + withToken + "\n", refused},
		attack{"a second request without a token", "GET /orders/7" + withToken + "\nGET /orders/8 HTTP/1.1\nHost: {host}\nConnection: close\n\n", passed},
		attack{"a second request in the body", "GET /orders/7" + withToken + "Connection: close\nContent-Length: 33\n\nGET /orders/8 HTTP/1.1\nHost: api\n\n", harmless},
		attack{"two lengths", "POST /orders/7" + withToken + "Content-Length: 0\nTransfer-Encoding: chunked\n\n0\n\nGET /orders/8 HTTP/1.1\nHost: {host}\nConnection: close\n\n", harmless},
	)
}

// preflights returns calls to a gateway that lets the preflights of browsers pass to
// /orders/, and to nothing else.
func preflights() []attack {
	const origin, method = "Origin: https://app.example\n", "Access-Control-Request-Method: PUT\n"
	var rows []attack
	add := func(want verdict, name, line, text string) {
		rows = append(rows, attack{name, line + " HTTP/1.1\nHost: {host}\n" + text + "\n", want})
	}
	add(nameless, "a preflight", "OPTIONS /orders/7", origin+method)
	add(nameless, "with headers", "OPTIONS /orders/7?a=b", method+"access-control-request-headers: authorization\n"+origin)
	add(nameless, "with a token", "OPTIONS /orders/7", origin+method+"Authorization: Bearer {token}\n")
	for _, name := range []string{"X-App-Key", "X-App-Scope", "X-Token-Expires", "X-Through-Data"} {
		add(nameless, "with "+name, "OPTIONS /orders/7", origin+method+name+": "+forged+"\n")
		for _, sep := range []string{"_", ".", "!"} {
			spelled := strings.ReplaceAll(name, "-", sep)
			add(nobody, "with "+spelled, "OPTIONS /orders/7", origin+method+spelled+": "+forged+"\n")
			add(nobody, "with "+strings.Replace(name, "-", sep, 1), "OPTIONS /orders/7", origin+method+strings.Replace(name, "-", sep, 1)+": "+forged+"\n")
		}
	}
	add(refused, "without Origin", "OPTIONS /orders/7", method)
	add(refused, "without the method", "OPTIONS /orders/7", origin)
	add(refused, "with an empty Origin", "OPTIONS /orders/7", "Origin:\n"+method)
	add(refused, "with an empty method", "OPTIONS /orders/7", origin+"Access-Control-Request-Method:\n")
	add(refused, "with a byte", "OPTIONS /orders/7", origin+method+"Content-Length: 1\n\nx")
	add(refused, "with a body", "OPTIONS /orders/7", origin+method+"Content-Length: 4\n\nbody")
	add(refused, "with a body in chunks", "OPTIONS /orders/7", origin+method+"Transfer-Encoding: chunked\n\n4\nbody\n0\n")
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "options", "BREW"} {
		add(refused, "another method: "+m, m+" /orders/7", origin+method)
		add(refused, "an overridden method: "+m, m+" /orders/7", origin+method+"X-HTTP-Method-Override: OPTIONS\n")
	}
	for _, path := range []string{"/invoices/42", "/other", "/", "/orders/../invoices/42", "/invoices/42/../../orders/7", "/orders/%2e%2e/invoices", "/orders/..%2finvoices", "/orders/..;/invoices", "//orders/7", "/ORDERS/7", "/_authsvc", "/_authsvc_preflight"} {
		add(refused, path, "OPTIONS "+path, origin+method)
	}
	add(passed, "another call", "GET /orders/7", "Authorization: Bearer {token}\n")
	add(passed, "OPTIONS with a token", "OPTIONS /orders/7", "Authorization: Bearer {token}\n")
	return rows
}

// overHTTP2 checks a gateway that lets preflights pass, and speaks HTTP/2 without TLS:
// there, a body needs no Content-Length.
func (s *setup) overHTTP2() {
	s.t.Helper()
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	s.t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport}

	token := s.issue(authsvctest.Worker)
	a := s.do(call{token: token})
	s.passed("good", a)
	if a.proto != 2 {
		s.t.Fatalf("the gateway speaks HTTP/%d", a.proto)
	}
	preflight := http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"PUT"}, "X-App-Key": {forged}}
	s.passed("a preflight", s.do(call{method: http.MethodOptions, header: preflight}))
	if got := s.backend.last(s.t).header.Get("X-App-Key"); got != "" {
		s.t.Errorf("a preflight: the API got X-App-Key %q", got)
	}
	for _, path := range []string{"/orders//7", "/orders/%2e%2e/invoices/42", "/invoices/42/../../orders/7", "/orders/..;/7"} {
		if a := s.do(call{token: token, path: path}); a.reached != 0 || a.Status/100 != 4 {
			s.t.Errorf("%s: %d, the API got %d requests", path, a.Status, a.reached)
		}
		if a := s.do(call{path: path, method: http.MethodOptions, header: preflight}); a.reached != 0 || a.Status/100 != 4 {
			s.t.Errorf("a preflight for %s: %d, the API got %d requests", path, a.Status, a.reached)
		}
	}
	// Last: Caddy may answer before it has told the API.
	body := struct{ io.Reader }{strings.NewReader("evil")} // of unknown length
	if a := s.do(call{method: http.MethodOptions, header: preflight, body: body}); a.reached != 0 && len(s.backend.last(s.t).body) > 1 {
		s.t.Errorf("a preflight with a body: %d, the API got %q", a.Status, s.backend.last(s.t).body)
	}
}

// keepsToken checks that the API gets the token if the operator removes the lines that
// contain a text.
func keepsToken(t *testing.T, start func(*testing.T, func(string) string) *setup, text string) {
	t.Helper()
	found := false
	s := start(t, func(line string) string {
		if strings.Contains(line, text) {
			found = true
			return ""
		}
		return line
	})
	token := s.issue(authsvctest.Worker)
	s.passed("good", s.do(call{token: token}))
	if got := s.backend.last(t).header.Get("Authorization"); !found || got != "Bearer "+token {
		t.Errorf("without the line %q (found: %t), the API gets Authorization %q", text, found, got)
	}
}

// attacked sends every attack to the gateway, and checks what the API gets.
func (s *setup) attacked(rows []attack) {
	s.t.Helper()
	token := s.issue(authsvctest.Worker)
	for _, a := range rows {
		if s.blind != nil && s.blind.MatchString(a.name) {
			continue
		}
		s.sub(a.name, func(s *setup) { s.attack(a, token) })
	}
}

// attack sends one attack and checks what the API gets.
func (s *setup) attack(a attack, token string) {
	s.t.Helper()
	s.backend.tap.take()
	status := s.raw(strings.NewReplacer("\n", "\r\n", "{token}", token, "{host}", strings.TrimPrefix(s.gateway, "http://")).Replace(a.text))
	got := s.backend.tap.take()
	reached := s.apiGot(got)
	want := a.want
	switch {
	case (want == harmless || want == nobody) && len(reached) == 0:
		want = refused
	case want == harmless:
		want = passed
	case want == nobody:
		want = nameless
	}
	if want == refused {
		// Apache answers OPTIONS * itself, and Caddy what is for another host.
		if len(got) != 0 || status/100 == 2 && strings.Contains(a.text, "{host}") && !strings.HasPrefix(a.text, "OPTIONS *") {
			s.t.Fatalf("%d, the API got %q; want a refusal", status, got)
		}
		return
	}
	if len(reached) != 1 || want == a.want && status != http.StatusOK && status != http.StatusPartialContent {
		s.t.Fatalf("%d, the API got %q; want one request", status, got)
	}
	r := reached[0]
	method, rest, _ := strings.Cut(a.text, " ")
	target, _, _ := strings.Cut(rest, " HTTP/")
	if i := strings.Index(target, "://"); i > 0 {
		target = target[i+3+strings.Index(target[i+3:], "/"):]
	}
	if r.method != method || !samePath(r.target, target) {
		s.t.Errorf("the API got %s %s; want %s %s", r.method, r.target, method, target)
	}
	key, scope := authsvctest.Worker, "orders.read orders.write"
	if want == nameless {
		key, scope = "", ""
	}
	for name, want := range map[string]string{"HTTP_X_APP_KEY": key, "HTTP_X_APP_SCOPE": scope, "HTTP_X_THROUGH_DATA": "", "HTTP_AUTHORIZATION": "", "HTTP_X_ORIGINAL_URL": "", "HTTP_X_REWRITE_URL": ""} {
		if v := strings.Join(r.cgi[name], " and "); v != want {
			s.t.Errorf("the API got %s %q; want %q", name, v, want)
		}
	}
	if v := strings.Join(r.cgi["HTTP_X_TOKEN_EXPIRES"], " and "); strings.Contains(v, forged) || (len(v) != 10 && want != nameless) || (v != "" && want == nameless) {
		s.t.Errorf("the API got HTTP_X_TOKEN_EXPIRES %q", v)
	}
	// An API that is a proxy itself would remove what Connection names.
	if v := strings.Join(r.cgi["HTTP_CONNECTION"], ", "); strings.Contains(strings.ToLower(v), "x-") {
		s.t.Errorf("the API got Connection %q", v)
	}
	if len(r.trailer) != 0 && !s.trailers {
		s.t.Errorf("the API got the trailer %v", r.trailer)
	}
	if bytes.Contains(got, []byte(token)) {
		s.t.Errorf("the API got the token: %q", got)
	}
}

// samePath reports whether two request targets are the same, character by character
// after decoding: Apache encodes anew what needs encoding.
func samePath(a, b string) bool {
	a, queryA, _ := strings.Cut(a, "?")
	b, queryB, _ := strings.Cut(b, "?")
	pa, errA := url.PathUnescape(a)
	pb, errB := url.PathUnescape(b)
	return errA == nil && errB == nil && pa == pb && strings.Count(a, "/") == strings.Count(b, "/") && queryA == queryB
}

// raw sends bytes to the gateway on a connection of their own, and returns the status of
// the first answer, or 0 if the gateway closes the connection without one.
func (s *setup) raw(text string) int {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.gateway, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	// No gateway takes that long, so reaching this timeout is a failure.
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return 0
	}
	method, _, _ := strings.Cut(text, " ")
	in := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.t.Fatalf("no answer to %q", text)
			}
			return 0
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if strings.Contains(text, "\r\n\r\nGET ") { // a second request, after which the gateway closes
			_, _ = io.Copy(io.Discard, in)
		}
		return res.StatusCode
	}
}

// tap is a listener that keeps a copy of all that its connections receive.
type tap struct {
	net.Listener
	mu  sync.Mutex
	got []byte
}

func (l *tap) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &tapped{c, l}, err
}

// take returns what came since the last call.
func (l *tap) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.got
	l.got = nil
	return got
}

type tapped struct {
	net.Conn
	tap *tap
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap.mu.Lock()
	c.tap.got = append(c.tap.got, b[:n]...)
	c.tap.mu.Unlock()
	return n, err
}

// apiRequest is a request as an API reads it that takes every character of a header's
// name that is neither a letter nor a digit for an underscore, as CGI servers do.
type apiRequest struct {
	method, target string
	cgi            map[string][]string
	trailer        http.Header
}

// apiGot parses what the API got.
func (s *setup) apiGot(got []byte) []apiRequest {
	s.t.Helper()
	var reqs []apiRequest
	in := bufio.NewReader(bytes.NewReader(got))
	for {
		r, err := http.ReadRequest(in)
		if err == io.EOF {
			return reqs
		}
		if err != nil {
			s.t.Fatalf("the API got %q: %v", got, err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		a := apiRequest{r.Method, r.RequestURI, map[string][]string{}, r.Trailer}
		for name, values := range r.Header {
			name = "HTTP_" + strings.Map(func(c rune) rune {
				switch {
				case c >= 'a' && c <= 'z':
					return c - 'a' + 'A'
				case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
					return c
				}
				return '_'
			}, name)
			a.cgi[name] = append(a.cgi[name], values...)
		}
		reqs = append(reqs, a)
	}
}
