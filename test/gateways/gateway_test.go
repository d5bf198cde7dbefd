package gateways

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"authsvc/internal/authsvctest"
)

// good checks what a backend gets from a good call: who called, according to authsvc
// and nobody else; and that authsvc is called once for each call, with a request that
// fits.
func (s *setup) good(fits func(got received, token string) bool) {
	s.t.Helper()
	const data = "tenant 7/é, 100%\r\nX-Evil: 1"
	body := strings.Repeat("a body of the caller's ", 1000)
	for _, c := range []struct {
		name string
		body io.Reader
	}{
		{"with a Content-Length", strings.NewReader(body)},
		{"in chunks", struct{ io.Reader }{strings.NewReader(body)}},
	} {
		token := s.issue(authsvctest.Worker, "through_data", data)
		header := forgedHeaders()
		header.Set("Cookie", "session=1")
		a := s.do(call{token: token, method: http.MethodPut, path: "/orders/7?scope=x&gateway=y", body: c.body, header: header})
		s.passed(c.name, a)
		got := s.backend.last(s.t)
		if got.method != http.MethodPut || got.uri != "/orders/7?scope=x&gateway=y" || got.body != body {
			s.t.Errorf("%s: the backend got %s %s and %d bytes", c.name, got.method, got.uri, len(got.body))
		}
		s.identity(c.name, got, authsvctest.Worker, "orders.read orders.write", data)
		if a.requests != 1 {
			s.t.Errorf("%s: authsvc got %d requests", c.name, a.requests)
		}
		if got := s.authsvc.last(s.t); !fits(got, token) {
			s.t.Errorf("%s: authsvc got %s %s %v, %d bytes of body, Content-Length %d", c.name, got.method, got.uri, got.header, len(got.body), got.length)
		}
	}

	// Nothing from the caller remains if authsvc sends nothing.
	s.passed("without through_data", s.do(call{token: s.issue(authsvctest.Worker), header: forgedHeaders()}))
	s.identity("without through_data", s.backend.last(s.t), authsvctest.Worker, "orders.read orders.write", "")

	// The longest possible: 300 characters of four bytes.
	long := strings.Repeat("\U0001F600", 300)
	s.passed("long through_data", s.do(call{token: s.issue(authsvctest.Worker, "through_data", long)}))
	s.identity("long through_data", s.backend.last(s.t), authsvctest.Worker, "orders.read orders.write", long)
}

// identity checks what the backend was told about the caller.
func (s *setup) identity(what string, got received, key, scope, data string) {
	s.t.Helper()
	for name, want := range map[string]string{"X-App-Key": key, "X-App-Scope": scope, "X-Through-Data": data} {
		values := got.header.Values(name)
		if want == "" && len(values) == 0 {
			continue
		}
		text := strings.Join(values, " and ")
		if name == "X-Through-Data" {
			text, _ = url.PathUnescape(text)
		}
		if len(values) != 1 || text != want {
			s.t.Errorf("%s: the backend got %s %q; want %q", what, name, values, want)
		}
	}
	for name := range got.header {
		if strings.Contains(name, "_") || name == "X-Evil" {
			s.t.Errorf("%s: the backend got %s", what, name)
		}
	}
	if v := got.header.Values("X-Token-Expires"); len(v) != 1 || v[0] == "9999999999" || len(v[0]) != 10 {
		s.t.Errorf("%s: the backend got X-Token-Expires %q", what, v)
	}
	if v := got.header.Values("Authorization"); len(v) != 0 {
		s.t.Errorf("%s: the backend got the token", what)
	}
}

// everyCall checks that authsvc is called for every call, so that a revocation takes
// effect with the next call, which is refused with this row.
func (s *setup) everyCall(status int, code string) {
	s.t.Helper()
	token := s.issue(authsvctest.Worker)
	for range 3 {
		a := s.do(call{token: token})
		s.passed("good", a)
		if a.requests != 1 {
			s.t.Errorf("authsvc got %d requests", a.requests)
		}
	}
	authsvctest.Want(s.t, "revoke", s.Revoke(authsvctest.Worker, token), 200, "")
	s.refused("revoked", s.do(call{token: token}), status, code)
}

// unavailable checks that nothing passes while the store is unavailable, while authsvc does
// not answer, or without authsvc. Afterwards authsvc is gone for good.
func (s *setup) unavailable(storeStatus int, storeCode string, status int, code string) {
	s.t.Helper()
	token := func() string { return s.issue(authsvctest.Worker) }
	fresh, hung, lost := token(), token(), token() // none of them is in a cache

	s.redis.Pause()
	a := s.do(call{token: fresh})
	s.refused("store unavailable", a, storeStatus, storeCode)
	if storeCode != "" && a.Header.Get("Retry-After") != retryAfter {
		s.t.Errorf("store unavailable: Retry-After %q", a.Header.Get("Retry-After"))
	}
	s.redis.Resume()

	resume := s.authsvc.hang()
	start := time.Now()
	a = s.do(call{token: hung})
	s.t.Logf("no answer of authsvc: %d after %v", a.Status, time.Since(start).Round(10*time.Millisecond))
	resume()
	s.refused("no answer", a, status, code)

	s.authsvc.CloseClientConnections()
	s.authsvc.Close()
	for _, a := range methods() {
		if a.want == refused {
			s.sub("stopped, "+a.name, func(s *setup) { s.attack(a, lost) })
		}
	}
	start = time.Now()
	a = s.do(call{token: lost})
	s.t.Logf("authsvc stopped: %d after %v", a.Status, time.Since(start).Round(10*time.Millisecond))
	s.refused("authsvc stopped", a, status, code)
	if code != "" && a.Header.Get("Retry-After") == "" {
		s.t.Error("authsvc stopped: no Retry-After")
	}
}

// backendStopped checks that a failure of the backend is not taken for one of authsvc.
func (s *setup) backendStopped() {
	s.t.Helper()
	a := s.do(call{token: s.issue(authsvctest.Worker), path: "/orders/" + hangUp})
	if a.Status != http.StatusBadGateway || a.Text("error_code") != "" || a.reached == 0 {
		s.t.Errorf("backend stopped: %d %s, the backend got %d requests", a.Status, a.Body, a.reached)
	}
}

// apiAnswers checks that the caller gets what the API answers, whatever its status: the
// gateway takes no 401 or 503 of the API for one of authsvc.
func (s *setup) apiAnswers() {
	s.t.Helper()
	token := s.issue(authsvctest.Worker)
	for _, status := range []int{204, 301, 400, 401, 403, 404, 405, 418, 429, 500, 502, 503, 504} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			a := s.do(call{token: token, method: method, path: fmt.Sprintf("/orders/status?status=%d", status)})
			if a.Status != status || a.Header.Get("X-Backend") != "yes" || a.reached != 1 || (method == http.MethodGet && status != 204 && string(a.Body) != "orders") {
				s.t.Errorf("%s, %d: the caller gets %d %v %s, the API got %d requests", method, status, a.Status, a.Header, a.Body, a.reached)
			}
		}
	}
}

// verifies returns a function that reports whether a gateway called /oauth/verify with
// a query, and without the caller's body.
func verifies(query string) func(received, string) bool {
	return func(got received, token string) bool {
		return got.method == http.MethodGet && got.uri == "/oauth/verify?"+query && got.body == "" && got.length == 0 &&
			strings.Join(got.header["Authorization"], "+") == "Bearer "+token && got.header["Cookie"] == nil
	}
}
