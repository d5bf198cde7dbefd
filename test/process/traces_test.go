package process

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
	"authsvc/internal/token"
)

// receiver receives traces, and keeps them.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	raw   []byte
	spans []*tracepb.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var m coltracepb.ExportTraceServiceRequest
		if err != nil || req.URL.Path != "/v1/traces" || proto.Unmarshal(body, &m) != nil {
			t.Errorf("%s: not traces: %v", req.URL, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.raw = append(r.raw, body...)
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// end stops a process, and waits for it: it then sends the last spans.
func end(t *testing.T, s *authsvctest.Server) {
	t.Helper()
	s.Signal(syscall.SIGTERM)
	s.Stderr.Event(t, "stopping", s.Ended)
	s.Signal(syscall.SIGTERM) // there is no balancer to wait for
	if code := s.WaitEnded(); code != 0 {
		t.Errorf("exit status %d\n%s", code, s.Stderr.Text())
	}
}

// send sends a request that no client library would send.
func send(t *testing.T, s *authsvctest.Server, method, path, body string, header ...string) {
	t.Helper()
	r, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	res, err := s.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}

// driveSecrets uses a service in all ways, and misuses it: it puts credentials wherever
// a client could put them. It returns each secret in each encoding.
func driveSecrets(t *testing.T, r *redistest.Server, s *authsvctest.Server) map[string][]byte {
	t.Helper()
	secrets := map[string][]byte{"the secret": []byte(authsvctest.Secret)}
	add := func(what string, p authsvctest.Pair) {
		for kind, tok := range map[string]string{" access": p.Access, " refresh": p.Refresh} {
			claims, err := token.Decode(tok)
			if err != nil {
				t.Fatal(err)
			}
			secrets[what+kind] = []byte(tok)
			secrets[what+" grant, raw"] = claims.Grant[:]
			secrets[what+" grant, hex"] = []byte(hex.EncodeToString(claims.Grant[:]))
			secrets[what+" grant, base64"] = []byte(base64.RawURLEncoding.EncodeToString(claims.Grant[:]))
		}
	}
	p := s.Issue(authsvctest.Worker, "through_data", "thr0ugh-data-01").Pair()
	secrets["through_data"] = []byte("thr0ugh-data-01")
	add("first", p)
	next := s.Refresh(authsvctest.Worker, p.Refresh).Pair()
	add("second", next)
	s.Refresh(authsvctest.Worker, p.Refresh) // a retry
	s.Introspect(next.Access)
	s.Verify(next.Access, "?scope=orders.read")
	for i, tok := range []string{next.Access, next.Refresh} {
		s.Verify(tok, "?token="+tok)
		send(t, s, "POST", "/oauth/introspect?token="+tok+"&client_secret="+authsvctest.Secret, "")
		send(t, s, "GET", "/oauth/introspect/"+tok, "")
		send(t, s, "GET", "/errors/"+tok, "")
		send(t, s, tok, "/oauth/token", "") // a token is a valid method
		send(t, s, "POST", "/oauth/token", "grant_type="+tok+"&client_id="+tok+"&client_secret="+tok)
		for _, h := range []string{"Host", "User-Agent", "X-Forwarded-For", "X-Request-Id", "Referer", "Authorization", "Traceparent", "Baggage", "Cookie"} {
			send(t, s, "GET", "/oauth/verify", "", h, tok)
			send(t, s, "GET", "/oauth/verify", "", h, authsvctest.Secret)
		}
		send(t, s, "GET", "/oauth/verify", "", "Traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", "Tracestate", "v="+tok)
		if i == 0 {
			for _, d := range r.Dump() {
				secrets["the record"] = d.Value[5 : len(d.Value)-10] // without what DUMP puts around it
			}
		}
	}
	s.Revoke(authsvctest.Worker, next.Access)
	s.Refresh(authsvctest.Worker, next.Refresh)
	return secrets
}

// No token, secret, grant id or record gets into a trace, however it was sent; and the
// test would notice: without either of the protections, it finds some.
func TestNoSecretsInTraces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		patches []authsvctest.Patch
		leaks   string // one of the leaks that are then found
	}{
		"as it is":         {},
		"with statements":  {[]authsvctest.Patch{authsvctest.SpansShowStatements}, "first grant, base64"},
		"with the request": {[]authsvctest.Patch{authsvctest.SpansShowRequests}, "second access"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary := authsvctest.Binary(t)
			if c.patches != nil {
				binary = authsvctest.BuildPatched(t, c.patches...)
			}
			r, to := redistest.Start(t), newReceiver(t)
			s := authsvctest.NewSite(t).StartBinary(binary, r.URL(), append([]string{"--trace-endpoint", to.URL}, authsvctest.Patient...)...)
			s.WaitReady()
			secrets := driveSecrets(t, r, s)
			end(t, s)
			var found []string
			for what, secret := range secrets {
				if bytes.Contains(to.raw, secret) {
					found = append(found, what)
				}
			}
			switch {
			case len(to.spans) < 50:
				t.Errorf("only %d spans", len(to.spans))
			case c.leaks == "" && len(found) > 0:
				t.Errorf("the traces hold %q", found)
			case c.leaks != "" && !slices.Contains(found, c.leaks):
				t.Errorf("the traces hold %q, but not %q: the test does not detect leaks", found, c.leaks)
			}
		})
	}
}

// attributes returns the attributes of a span, as strings.
func attributes(s *tracepb.Span) map[string]string {
	m := map[string]string{}
	for _, a := range s.Attributes {
		m[a.Key] = a.Value.GetStringValue()
	}
	return m
}

// A request is a span with a name from a short list; its store calls are below it, and
// their Redis commands below these. Its log line has the trace id.
func TestTraceOfARequest(t *testing.T) {
	t.Parallel()
	r, to := redistest.Start(t), newReceiver(t)
	s := authsvctest.NewSite(t).Serve(r.URL(), append([]string{"--trace-endpoint", to.URL, "--trusted-proxies", "127.0.0.1"}, authsvctest.Patient...)...)
	p := s.Issue(authsvctest.Worker).Pair()
	send(t, s, "GET", "/some/junk", "")
	send(t, s, "GET", "/errors/APIG.2203", "", "X-Forwarded-For", "203.0.113.9")
	r.Kill()
	s.Verify(p.Access, "?gateway=nginx") // APIG.0613, for which nginx gets 403
	end(t, s)

	requests := map[string]*tracepb.Span{}
	children := map[string][]*tracepb.Span{}
	for _, span := range to.spans {
		if span.Kind == tracepb.Span_SPAN_KIND_SERVER {
			if requests[span.Name] != nil {
				t.Errorf("two spans named %s", span.Name)
			}
			requests[span.Name] = span
		}
		children[string(span.ParentSpanId)] = append(children[string(span.ParentSpanId)], span)
	}
	for name, want := range map[string]map[string]string{
		"token":  {"http.route": "/oauth/token", "authsvc.code": "ok", "authsvc.app": authsvctest.Worker, "http.request.method": "POST"},
		"other":  {"authsvc.code": "APIG.0101", "http.route": ""},
		"errors": {"http.route": "/errors/:code", "client.address": "203.0.113.9"},
		"verify": {"authsvc.code": "APIG.0613"},
	} {
		got := requests[name]
		if got == nil {
			t.Errorf("no span %s", name)
			continue
		}
		all := attributes(got)
		for k, v := range want {
			if all[k] != v {
				t.Errorf("%s: %s is %q, want %q", name, k, all[k], v)
			}
		}
		if failed := got.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR; failed != (name == "verify") {
			t.Errorf("%s: status %v", name, got.Status)
		}
		if !strings.Contains(s.Stderr.Text(), `"request_id":"`+all["authsvc.request_id"]+`"`) ||
			!strings.Contains(s.Stderr.Text(), `"trace_id":"`+hex.EncodeToString(got.TraceId)+`"`) {
			t.Errorf("%s: the log has no line of this trace", name)
		}
	}
	names := func(parent *tracepb.Span) (list []string) {
		for _, c := range children[string(parent.SpanId)] {
			list = append(list, c.Name)
		}
		return list
	}
	if got := names(requests["token"]); !slices.Equal(got, []string{"store.create"}) {
		t.Fatalf("below the request are %q", got)
	}
	if got := names(children[string(requests["token"].SpanId)][0]); !slices.Contains(got, "set") {
		t.Errorf("below the store's call are %q", got)
	}
	for _, span := range children[""] { // only requests begin traces
		if span.Kind != tracepb.Span_SPAN_KIND_SERVER {
			t.Errorf("a trace begins with %s", span.Name)
		}
	}
}

// The trace of a trusted proxy is continued, and the proxy decides whether it is
// recorded. The trace of anyone else is only linked to, and decides nothing.
func TestTraceOfTheCaller(t *testing.T) {
	t.Parallel()
	const traceID = "0123456789abcdef0123456789abcdef"
	loopback := "127.0.0.1"
	for _, c := range []struct {
		trusted, sample, flags string
		spans                  int
		goesOn                 bool
	}{
		{"192.0.2.1", "1", "01", 1, false},
		{"192.0.2.1", "1", "00", 1, false}, // it can't prevent the recording
		{"192.0.2.1", "0", "01", 0, false}, // nor cause it
		{loopback, "0", "01", 1, true},
		{loopback, "1", "00", 0, true},
	} {
		to := newReceiver(t)
		s := authsvctest.NewSite(t).Serve("memory://", "--trace-endpoint", to.URL, "--trace-sample", c.sample, "--trusted-proxies", c.trusted)
		send(t, s, "GET", "/errors", "", "Traceparent", "00-"+traceID+"-0123456789abcdef-"+c.flags, "Tracestate", "vendor=v1")
		end(t, s)
		if len(to.spans) != c.spans {
			t.Errorf("%+v: %d spans", c, len(to.spans))
			continue
		}
		if c.spans == 0 {
			if strings.Contains(s.Stderr.Text(), "trace_id") {
				t.Errorf("%+v: the log names a trace that is not recorded", c)
			}
			continue
		}
		span := to.spans[0]
		goesOn := hex.EncodeToString(span.TraceId) == traceID && hex.EncodeToString(span.ParentSpanId) == "0123456789abcdef" && span.TraceState == "vendor=v1"
		linked := len(span.ParentSpanId) == 0 && len(span.Links) == 1 && hex.EncodeToString(span.Links[0].TraceId) == traceID && span.Links[0].TraceState == ""
		if goesOn != c.goesOn || linked == c.goesOn {
			t.Errorf("%+v: %v", c, span)
		}
	}
}

// A receiver that never answers delays neither requests nor the exit of the process.
func TestTracesToNobody(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		<-leave
	}))
	defer hangs.Close()
	defer close(leave)
	s := authsvctest.NewSite(t).Serve("memory://", "--trace-endpoint", hangs.URL, "--drain", "1s")
	for range 1500 { // more spans than fit into the queue
		authsvctest.Want(t, "token", s.Issue(authsvctest.Worker), 200, "")
	}
	<-entered
	s.Signal(syscall.SIGTERM)
	if code := s.WaitEnded(); code != 0 || s.Stderr.Count("traces can't be sent and are dropped; requests are not affected") > 1 {
		t.Errorf("exit status %d\n%s", code, s.Stderr.Text())
	}
	for line := range strings.Lines(s.Stderr.Text()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("OpenTelemetry itself writes to the log: %s", line)
		}
	}
}
