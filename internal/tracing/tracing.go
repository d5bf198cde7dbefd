package tracing

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Config says where spans go. Nothing is optional.
type Config struct {
	Endpoint string  // URL of an OTLP/HTTP receiver, with its path
	Sample   float64 // how many of the traces that begin here are recorded: 0 to 1
	Version  string  // of this program
	Log      *slog.Logger
}

// Provider makes spans, and sends them in the background. Those that nobody takes
// wait in a bounded queue, and are dropped beyond it: no caller ever waits. End it
// with Close.
type Provider struct {
	*sdktrace.TracerProvider
	exporter sdktrace.SpanExporter
}

// New returns a provider, without connecting to the receiver. The standard variables
// OTEL_EXPORTER_OTLP_*, OTEL_BSP_* and OTEL_RESOURCE_ATTRIBUTES are heeded; it fails
// where those name files that can't be read.
func New(cfg Config) (*Provider, error) {
	// What OpenTelemetry says by itself goes to standard error, and of a malformed
	// OTEL_EXPORTER_OTLP_HEADERS that is the header.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Log.Warn("traces", "cause", brief(err)) }))

	ctx := context.Background() // nothing here waits for anything
	to, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(cfg.Endpoint))
	if err != nil {
		return nil, fmt.Errorf("setting up traces: %w", err)
	}
	self, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		semconv.ServiceName("authsvc"), semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(uuid.NewString()),
	), resource.WithFromEnv())
	if err != nil { // the rest of it is there
		cfg.Log.Warn("traces", "cause", brief(err))
	}
	e := &exporter{SpanExporter: to, log: cfg.Log}
	return &Provider{exporter: e, TracerProvider: sdktrace.NewTracerProvider(
		sdktrace.WithResource(self),
		sdktrace.WithSampler(sdktrace.ParentBased(requests{sdktrace.TraceIDRatioBased(cfg.Sample)})),
		sdktrace.WithBatcher(e),
	)}, nil
}

// Close sends what is queued, until ctx ends. What is left then is dropped.
func (p *Provider) Close(ctx context.Context) {
	_ = p.Shutdown(ctx)
	_ = p.exporter.Shutdown(ctx) // it ends what is still being sent
}

// requests lets a trace begin with a request, and with nothing else: Redis is asked
// for its time, examined, and asked whether it is back all day.
type requests struct{ sdktrace.Sampler }

// ShouldSample is sdktrace.Sampler's.
func (r requests) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Kind != trace.SpanKindServer {
		return sdktrace.NeverSample().ShouldSample(p)
	}
	return r.Sampler.ShouldSample(p)
}

// exporter says once that nobody takes the spans, and once that somebody does
// again. It is never called twice at a time.
type exporter struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	lost int // spans since it was last taken; 0: it is
}

// ExportSpans is sdktrace.SpanExporter's. It never fails: its error would be said
// each time.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil:
		if e.lost == 0 {
			e.log.Warn("traces can't be sent, and are dropped; requests are served all the same", "cause", brief(err))
		}
		e.lost += len(spans)
	case e.lost > 0:
		e.log.Info("traces are sent again", "lost_spans", e.lost)
		e.lost = 0
	}
	return nil
}

// brief is the beginning of an error, which may hold all that a receiver answered.
func brief(err error) string {
	const most = 300
	text := err.Error()
	return text[:min(len(text), most)]
}
