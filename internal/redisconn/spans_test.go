package redisconn

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"authsvc/internal/redistest"
)

// traced is a connection whose spans the test sees. A caller's are made with its tracer.
func traced(t *testing.T, url string) (*Conn, trace.Tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	opts := options(t, url)
	opts.Timeout, opts.Traces = 5*time.Second, p
	return openWith(t, opts), p.Tracer("test"), spans
}

// batches are the spans of what was sent to Redis at a time.
func batches(spans tracetest.SpanStubs) tracetest.SpanStubs {
	return slices.DeleteFunc(slices.Clone(spans), func(s tracetest.SpanStub) bool {
		return !strings.HasPrefix(s.Name, "redis.pipeline ") && !slices.Contains([]string{"set", "get", "evalsha", "del"}, s.Name)
	})
}

// A command is sent without its caller's context, and yet its span is a child of
// the caller's; those that were sent together know of each other.
func TestTraceOfABatch(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	for name, url := range map[string]string{"single": redistest.Start(t).URL(), "cluster": cluster.URL()} {
		t.Run(name, func(t *testing.T) {
			s, tracer, spans := traced(t, url)
			const key = prefix + "traced"
			if err := put(t.Context(), s, key, "one"); err != nil {
				t.Fatal(err)
			}
			var shared tracetest.SpanStub
			redistest.Eventually(t, "two calls in a batch", func() bool {
				spans.Reset()
				var wg sync.WaitGroup
				for range 30 {
					wg.Go(func() {
						ctx, span := tracer.Start(context.Background(), "call")
						defer span.End()
						if _, err := get(ctx, s, key); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				all := batches(spans.GetSpans())
				i := slices.IndexFunc(all, func(b tracetest.SpanStub) bool { return len(b.Links) > 0 })
				if i >= 0 {
					shared = all[i]
				}
				return i >= 0
			})
			calls := map[trace.SpanID]tracetest.SpanStub{}
			for _, c := range spans.GetSpans() {
				if c.Name == "call" {
					calls[c.SpanContext.SpanID()] = c
				}
			}
			for _, b := range batches(spans.GetSpans()) {
				if c, ok := calls[b.Parent.SpanID()]; !ok || c.SpanContext.TraceID() != b.SpanContext.TraceID() {
					t.Errorf("a batch is no child of a call: %v", b.Parent)
				}
			}
			for _, l := range shared.Links {
				c := calls[l.SpanContext.SpanID()]
				if len(c.Links) != 1 || !c.Links[0].SpanContext.Equal(shared.SpanContext) {
					t.Errorf("the call %v is not linked with its batch", l.SpanContext.SpanID())
				}
			}
			if n := 1 + len(shared.Links); !slices.ContainsFunc(shared.Attributes, func(a attribute.KeyValue) bool {
				return a.Key == "db.redis.num_cmd" && a.Value.AsInt64() == int64(n)
			}) {
				t.Errorf("%d calls, and %v", n, shared.Attributes)
			}
		})
	}
}

// Redis quotes the arguments of a command that it does not know. No span does.
func TestNoArgumentsInTraces(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--rename-command", "SET", "", "--rename-command", "GET", "", "--rename-command", "EVALSHA", "", "--rename-command", "DEL", "")
	s, tracer, spans := traced(t, server.URL())
	const key, record = prefix + "traced", "a record of some length"
	ctx, span := tracer.Start(t.Context(), "call")
	_ = put(ctx, s, key, record)
	_, _ = get(ctx, s, key)
	_, _ = s.Run(ctx, script, key, record)
	_ = del(ctx, s, key)
	span.End()
	var got tracetest.SpanStubs
	redistest.Eventually(t, "four batches", func() bool { // an answer comes before its span ends
		got = batches(spans.GetSpans())
		return len(got) == 4
	})
	for _, b := range got {
		if b.Status.Code != codes.Error || !slices.ContainsFunc(b.Attributes, func(a attribute.KeyValue) bool {
			return a.Key == "error.type" && a.Value.AsString() == "ERR"
		}) {
			t.Errorf("%s: %v %v", b.Name, b.Status, b.Attributes)
		}
		if text := fmt.Sprintf("%+v", b); strings.Contains(text, key) || strings.Contains(text, record) {
			t.Errorf("a span holds an argument: %s", text)
		}
	}
}
