package answer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
)

// reports is a Telemetry that keeps what it is told.
type reports struct {
	expected []string
	inFlight atomic.Int64
	unlogged atomic.Int64
	outcomes []answer.Outcome
}

func (r *reports) Expect(endpoint string) { r.expected = append(r.expected, endpoint) }

func (r *reports) Began() { r.inFlight.Add(1) }

func (r *reports) Unlogged() { r.unlogged.Add(1) }

func (r *reports) Answered(_ context.Context, o answer.Outcome) {
	r.inFlight.Add(-1)
	r.outcomes = append(r.outcomes, o)
}

func (r *reports) TraceID(context.Context) string { return "trace-7" }

// listener is a second listener, with an endpoint of each kind.
type listener struct {
	*answer.Router
	reports  reports
	log      bytes.Buffer
	draining bool
}

// secret is what no answer may hold.
const secret = "the cause of it"

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{}
	r, err := answer.NewRouter(answer.Config{
		Telemetry: &l.reports, Log: slog.New(slog.NewJSONHandler(&l.log, nil)), ErrorPages: "https://auth.example.com/errors/",
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, // httptest's client
		Draining:       func() bool { return l.draining }, NotFound: func(*answer.Exchange) error { return apierr.New(apierr.APINotFound, "Look elsewhere.") },
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Router = r
	failing := func(err error) func(*answer.Exchange) error { return func(*answer.Exchange) error { return err } }
	for path, handle := range map[string]func(*answer.Exchange) error{
		"/id": func(x *answer.Exchange) error {
			x.SetApp("billing-worker")
			return x.JSON(http.StatusCreated, map[string]string{"id": answer.RequestID(x.Context())})
		},
		"/public":     func(x *answer.Exchange) error { return x.PublicJSON(x.Query("q")) },
		"/empty":      func(x *answer.Exchange) error { x.OK(); return nil },
		"/items/:id":  func(x *answer.Exchange) error { return x.JSON(http.StatusOK, x.Param("id")) },
		"/unencoded":  func(x *answer.Exchange) error { return x.JSON(http.StatusOK, func() {}) },
		"/unforeseen": failing(errors.New(secret)),
		"/panic":      func(*answer.Exchange) error { panic(secret) },
		"/late panic": func(x *answer.Exchange) error { x.Public("text/plain", []byte("all of it")); panic(secret) },
		"/401":        failing(apierr.Wrap(apierr.AuthIncorrect, "Say \"please\" \\ 请.", errors.New(secret))),
		"/405":        failing(apierr.New(apierr.AppFrozen, "Frozen.")),
		"/503":        failing(&apierr.Error{Row: apierr.Unavailable, Hint: "Wait.", RetryAfter: 2500 * time.Millisecond}),
	} {
		l.Handle(path, answer.Endpoint{
			Name: "test", Methods: []string{http.MethodGet, http.MethodPost}, Handle: handle,
			Challenge: func(e *apierr.Error) string { return "Test " + e.Row.Code() },
			StatusFor: func(x *answer.Exchange, _ apierr.Row) int {
				if x.Query("few") == "" {
					return 0
				}
				return http.StatusForbidden
			},
		})
	}
	return l
}

func (l *listener) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w
}

// line returns the only line of the log.
func (l *listener) line(t *testing.T) map[string]any {
	t.Helper()
	var line map[string]any
	if err := json.Unmarshal(l.log.Bytes(), &line); err != nil || strings.Count(l.log.String(), "\n") != 1 {
		t.Fatalf("not one line in the log: %v\n%s", err, l.log.String())
	}
	return line
}

// What each exchange comes to: on the wire, in the log, and in what is reported.
func TestExchanges(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 32<<10)
	for _, tt := range []struct {
		name, target string
		request      func(*http.Request)
		status       int
		header       map[string]string
		body         string // of a success
		code         string // of a failure
		cause        string // a part of it, in the log
		level        string
	}{
		{name: "JSON", target: "/id", status: 201, header: map[string]string{"Cache-Control": "no-store", "Pragma": "no-cache", "Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}},
		{name: "public JSON", target: "/public?q=a&q=b", status: 200, body: `"a"`, header: map[string]string{"Cache-Control": "public, max-age=300", "Pragma": "", "Content-Length": "3"}},
		{name: "no body", target: "/empty", status: 200, header: map[string]string{"Cache-Control": "no-store", "Content-Type": ""}},
		{name: "parameter of the path", target: "/items/7", status: 200, body: `"7"`},

		{name: "URI over 32 KiB", target: "/id?" + long, status: 414, code: "APIG.0201"},
		{name: "header over 32 KiB", target: "/id", request: func(r *http.Request) { r.Header.Set("X-Pad", long) }, status: 494, code: "APIG.0201"},
		{name: "Host over 32 KiB", target: "/id", request: func(r *http.Request) { r.Host = long }, status: 494, code: "APIG.0201"},
		{name: "headers over 128 KiB", target: "/id", request: func(r *http.Request) {
			r.Header["X-Pad"] = []string{long[100:], long[100:], long[100:], long[100:], long[100:]}
		}, status: 494, code: "APIG.0201"},
		{name: "unknown path", target: "/nowhere", status: 404, code: "APIG.0101"},
		{name: "slash at the end", target: "/id/", status: 404, code: "APIG.0101"},
		{name: "unknown method", target: "/id", request: func(r *http.Request) { r.Method = http.MethodDelete }, status: 404, code: "APIG.0101", header: map[string]string{"Allow": "GET, POST"}},

		{name: "challenge", target: "/401", status: 401, code: "APIG.0305", cause: secret, header: map[string]string{"Www-Authenticate": "Test APIG.0305"}},
		{name: "status that not all know", target: "/401?few=1", status: 403, code: "APIG.0305", cause: secret, header: map[string]string{
			"Www-Authenticate": "", "X-Error-Status": "401", "X-Error-Code": "APIG.0305", "X-Error-Msg": apierr.AuthIncorrect.Message(),
		}},
		{name: "allow", target: "/405", status: 405, code: "APIG.0502", header: map[string]string{"Allow": "GET, POST"}},
		{name: "retry after", target: "/503", status: 503, code: "APIG.0613", header: map[string]string{"Retry-After": "2"}, level: "ERROR"},
		{name: "fault that looks like a refusal", target: "/503?few=1", status: 403, code: "APIG.0613", level: "ERROR"},
		{name: "unforeseen", target: "/unforeseen", status: 500, code: "APIG.0601", cause: secret, level: "ERROR"},
		{name: "what JSON can't say", target: "/unencoded", status: 500, code: "APIG.0601", cause: "encoding the answer", level: "ERROR"},
		{name: "panic", target: "/panic", status: 500, code: "APIG.0601", cause: secret, level: "ERROR"},
		{name: "panic after the answer", target: "/late%20panic", status: 200, body: "all of it", cause: secret, level: "ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newListener(t)
			r := httptest.NewRequest(http.MethodGet, tt.target, nil)
			r.RemoteAddr = "198.51.100.7:5555"
			if tt.request != nil {
				tt.request(r)
			}
			w := l.do(r)
			id := w.Header().Get("X-Request-Id")
			if w.Code != tt.status || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
				t.Fatalf("%d, request id %q: %s", w.Code, id, w.Body)
			}
			for k, v := range tt.header {
				if got := w.Header().Get(k); got != v {
					t.Errorf("%s is %q, want %q", k, got, v)
				}
			}
			if tt.body != "" && w.Body.String() != tt.body {
				t.Errorf("body %s", w.Body)
			}
			if tt.code != "" {
				var body map[string]string
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body["error_code"] != tt.code || body["request_id"] != id ||
					body["error_uri"] != "https://auth.example.com/errors/"+tt.code || strings.Contains(w.Body.String(), secret) ||
					w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("body %s (%v)", w.Body, err)
				}
			}

			code, level, endpoint := "ok", "INFO", "test"
			if tt.code != "" {
				code, level = tt.code, "WARN"
			}
			if tt.level != "" {
				level = tt.level
			}
			if tt.name == "panic after the answer" {
				code = "APIG.0601"
			}
			if strings.HasPrefix(tt.code, "APIG.0101") {
				endpoint = "other"
			}
			line := l.line(t)
			if line["request_id"] != id || line["code"] != code || line["level"] != level || line["endpoint"] != endpoint ||
				line["status"] != float64(tt.status) || line["bytes"] != float64(w.Body.Len()) ||
				line["client_ip"] != "198.51.100.7" || line["trace_id"] != "trace-7" {
				t.Errorf("line %v", line)
			}
			if cause, _ := line["cause"].(string); !strings.Contains(cause, tt.cause) || (tt.cause == "") != (cause == "") {
				t.Errorf("cause %q, want %q", cause, tt.cause)
			}

			want := answer.Outcome{
				RequestID: id, Endpoint: endpoint, Route: strings.Split(r.URL.Path, "?")[0], Code: code, Fault: level == "ERROR",
				ClientIP: netip.MustParseAddr("198.51.100.7"),
			}
			switch {
			case endpoint == "other":
				want.Route = ""
			case strings.HasPrefix(want.Route, "/items/"):
				want.Route = "/items/:id"
			case tt.name == "JSON":
				want.App = "billing-worker"
			}
			if len(l.reports.outcomes) != 1 || l.reports.inFlight.Load() != 0 {
				t.Fatalf("reported %v", l.reports.outcomes)
			}
			got := l.reports.outcomes[0]
			if got.Took <= 0 {
				t.Errorf("took %v", got.Took)
			}
			got.Took = 0
			if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("reported (-want +got):\n%s", d)
			}
		})
	}
}

// The request id that is answered is the one that what is done for the request sees.
func TestRequestIDInContext(t *testing.T) {
	t.Parallel()
	l := newListener(t)
	w := l.do(httptest.NewRequest(http.MethodGet, "/id", nil))
	if want := `{"id":"` + w.Header().Get("X-Request-Id") + `"}`; w.Body.String() != want {
		t.Errorf("%s, want %s", w.Body, want)
	}
	if id := answer.RequestID(t.Context()); id != "" {
		t.Errorf("request id %q without a request", id)
	}
}

// What an endpoint notes is in the log line, in its order, and nothing that is empty.
func TestNotes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3, 5} {
		l := newListener(t)
		l.Handle("/notes", answer.Endpoint{Name: "notes", Methods: []string{http.MethodGet}, Handle: func(x *answer.Exchange) error {
			for i := range n {
				x.Note("empty", "")
				x.Note("field"+strconv.Itoa(i), "value")
			}
			return apierr.New(apierr.AppFrozen, "Frozen.") // a failure has them, too
		}})
		l.do(httptest.NewRequest(http.MethodGet, "/notes", nil))
		want := `"app":"",`
		for i := range n {
			want += `"field` + strconv.Itoa(i) + `":"value",`
		}
		if line := l.log.String(); !strings.Contains(line, want+`"duration":`) {
			t.Errorf("%d notes: %s", n, line)
		}
	}
}

// A caller that goes away does not end what is done for its request.
func TestContextOutlivesTheCaller(t *testing.T) {
	t.Parallel()
	l := newListener(t)
	var err error
	l.Handle("/gone", answer.Endpoint{Name: "gone", Methods: []string{http.MethodGet}, Handle: func(x *answer.Exchange) error {
		err = x.Context().Err()
		x.OK()
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.do(httptest.NewRequest(http.MethodGet, "/gone", nil).WithContext(ctx))
	if err != nil {
		t.Error(err)
	}
}

// Every endpoint is announced before its first request.
func TestEndpointsAreAnnounced(t *testing.T) {
	t.Parallel()
	l := newListener(t)
	told := map[string]bool{}
	for _, name := range l.reports.expected {
		told[name] = true
	}
	if !told["test"] || !told["other"] {
		t.Errorf("announced: %v", l.reports.expected)
	}
}

// While the process is about to stop, answers ask for their connection to be closed.
func TestConnectionsAreClosedWhileDraining(t *testing.T) {
	t.Parallel()
	l := newListener(t)
	for _, draining := range []bool{false, true} {
		l.draining = draining
		for _, path := range []string{"/id", "/401", "/nowhere"} {
			w := l.do(httptest.NewRequest(http.MethodGet, path, nil))
			if closed := w.Header().Get("Connection") == "close"; closed != draining {
				t.Errorf("%s: Connection %q while draining is %v", path, w.Header().Get("Connection"), draining)
			}
		}
	}
}

func TestFromProxy(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for addr, want := range map[string]bool{"192.0.2.7:1234": true, "[::ffff:192.0.2.7]:1234": true, "198.51.100.1:1234": false, "@": false} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = addr
		r.Header.Set("X-Forwarded-For", "192.0.2.7") // anybody can say that
		if answer.FromProxy(r, proxies) != want {
			t.Errorf("%s: %v", addr, !want)
		}
	}
}
