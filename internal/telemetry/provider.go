package telemetry

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

// ProviderConfig says where spans go. Nothing is optional.
type ProviderConfig struct {
	Endpoint string  // URL of an OTLP/HTTP receiver, with its path
	Sample   float64 // the share of the traces that begin here which is recorded: 0 to 1
	Version  string  // of this program
	Log      *slog.Logger
}

// Provider makes spans, and sends them in the background. Spans that no receiver
// takes wait in a bounded queue, and are dropped beyond it: no caller ever waits.
// End it with Close.
type Provider struct {
	*sdktrace.TracerProvider
	exporter sdktrace.SpanExporter
}

// NewProvider returns a provider, without connecting to the receiver. It follows the
// standard variables OTEL_EXPORTER_OTLP_*, OTEL_BSP_* and OTEL_RESOURCE_ATTRIBUTES,
// and fails where these name files that can't be read.
func NewProvider(cfg ProviderConfig) (*Provider, error) {
	// OpenTelemetry by itself writes to standard error, and of a malformed
	// OTEL_EXPORTER_OTLP_HEADERS it writes the header.
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
		sdktrace.WithSampler(sdktrace.ParentBased(requestsOnly{sdktrace.TraceIDRatioBased(cfg.Sample)})),
		sdktrace.WithBatcher(e),
	)}, nil
}

// Close sends the queued spans until ctx ends, and drops the rest.
func (p *Provider) Close(ctx context.Context) {
	_ = p.Shutdown(ctx)
	_ = p.exporter.Shutdown(ctx) // it ends what is still being sent
}

// requestsOnly lets a trace begin with a request, and with nothing else: clock,
// monitor and breaker call Redis all day.
type requestsOnly struct{ sdktrace.Sampler }

// ShouldSample implements sdktrace.Sampler.
func (r requestsOnly) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Kind != trace.SpanKindServer {
		return sdktrace.NeverSample().ShouldSample(p)
	}
	return r.Sampler.ShouldSample(p)
}

// exporter logs once that no receiver takes the spans, and once that one does
// again. It is never called concurrently.
type exporter struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	lost int // spans since the last that were taken; 0 while they are
}

// ExportSpans implements sdktrace.SpanExporter. It never fails: OpenTelemetry would
// report the error each time.
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

// brief returns the beginning of an error, which may hold a receiver's whole answer.
func brief(err error) string {
	const most = 300
	text := err.Error()
	return text[:min(len(text), most)]
}
