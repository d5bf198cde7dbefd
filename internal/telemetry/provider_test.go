package telemetry_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/trace"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"authsvc/internal/redistest"
	"authsvc/internal/telemetry"
)

// log is a log that the test reads.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func provider(t *testing.T, l *log, endpoint string, sample float64) *telemetry.Provider {
	t.Helper()
	p, err := telemetry.NewProvider(telemetry.ProviderConfig{Endpoint: endpoint, Sample: sample, Version: "v1", Log: slog.New(slog.NewTextHandler(l, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(p *telemetry.Provider) {
	_, span := p.Tracer("test").Start(context.Background(), "request", trace.WithSpanKind(trace.SpanKindServer))
	span.End()
}

// A receiver that refuses spans is said once, and once that it takes them again.
func TestReceiverRefuses(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "5") // ms
	var refuse atomic.Bool
	var asked, taken atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if refuse.Load() {
			http.Error(w, strings.Repeat("no ", 10_000), http.StatusBadRequest)
			return
		}
		taken.Add(1)
	}))
	defer srv.Close()
	var l log
	p := provider(t, &l, srv.URL+"/v1/traces", 1)
	for round := range 2 {
		refuse.Store(true)
		for n := asked.Load() + 3; asked.Load() < n; {
			request(p)
		}
		refuse.Store(false)
		request(p)
		redistest.Eventually(t, "a line for the end", func() bool {
			request(p)
			return strings.Count(l.text(), "traces are sent again") == round+1
		})
	}
	p.Close(t.Context())
	text := l.text()
	if n := strings.Count(text, "traces can't be sent"); n != 2 || strings.Count(text, "\n") != 4 {
		t.Errorf("%d lines for two times:\n%s", n, text)
	}
	if len(text) > 4*600 {
		t.Errorf("the log holds all that the receiver said, %d bytes", len(text))
	}
}

// Where the receiver hangs, nobody waits for it: not who makes spans, and not the end.
func TestReceiverHangs(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		<-leave
	}))
	defer srv.Close()
	defer close(leave)
	var l log
	p := provider(t, &l, srv.URL+"/v1/traces", 1)
	for range 10_000 { // more than the queue takes
		request(p)
	}
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no time is left
	p.Close(ctx)
	redistest.Eventually(t, "the end of what is being sent", func() bool { return strings.Contains(l.text(), "traces can't be sent") })
}

// A trace begins with a request only, and as often as was asked for. The resource
// says who we are, and what the operator adds.
func TestWhatIsRecorded(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	for sample, want := range map[float64]int{1: 20, 0: 0} {
		t.Run(fmt.Sprint(sample), func(t *testing.T) {
			got := make(chan *coltracepb.ExportTraceServiceRequest, 100)
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				m := &coltracepb.ExportTraceServiceRequest{}
				if err := proto.Unmarshal(body, m); err != nil {
					t.Error(err)
				}
				got <- m
			}))
			defer srv.Close()
			var l log
			p := provider(t, &l, srv.URL+"/v1/traces", sample)
			tracer := p.Tracer("test")
			for range 10 {
				ctx, span := tracer.Start(t.Context(), "request", trace.WithSpanKind(trace.SpanKindServer))
				_, child := tracer.Start(ctx, "store.get")
				child.End()
				span.End()
				_, alone := tracer.Start(t.Context(), "redis.dial", trace.WithSpanKind(trace.SpanKindClient))
				alone.End()
			}
			p.Close(t.Context())
			close(got)
			n := 0
			for m := range got {
				for _, rs := range m.ResourceSpans {
					self := map[string]string{}
					for _, a := range rs.Resource.Attributes {
						self[a.Key] = a.Value.GetStringValue()
					}
					if self["service.name"] != "authsvc" || self["service.version"] != "v1" || self["service.instance.id"] == "" || self["deployment.environment.name"] != "test" {
						t.Errorf("the resource is %v", self)
					}
					for _, ss := range rs.ScopeSpans {
						n += len(ss.Spans)
						for _, s := range ss.Spans {
							if s.Name == "redis.dial" {
								t.Error("a trace began without a request")
							}
						}
					}
				}
			}
			if n != want || l.text() != "" {
				t.Errorf("%d spans, want %d; %s", n, want, l.text())
			}
		})
	}
}

// A header of the operator, which holds a key, is not written anywhere.
func TestMalformedHeadersAreNotShown(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "s3cret-key-without-a-name")
	var l log
	old := slog.Default()
	p := provider(t, &l, "http://127.0.0.1:1/v1/traces", 1)
	request(p)
	p.Close(t.Context())
	if slog.Default() != old || strings.Contains(l.text(), "s3cret") {
		t.Errorf("the log holds the header: %s", l.text())
	}
}
