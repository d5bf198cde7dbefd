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

// ProviderConfig configures where spans are sent. Nothing is optional.
type ProviderConfig struct {
	Endpoint string  // URL of an OTLP/HTTP receiver, with its path
	Sample   float64 // the share of the traces beginning here that is recorded, 0 to 1
	Version  string  // of this program
	Log      *slog.Logger
}

// Provider creates spans and sends them in the background. Unsent spans wait in a
// bounded queue and are dropped if it is full: no caller ever waits. It must be closed.
type Provider struct {
	*sdktrace.TracerProvider
	exporter sdktrace.SpanExporter
}

// NewProvider returns a provider, without connecting to the receiver. It honors the
// standard variables OTEL_EXPORTER_OTLP_*, OTEL_BSP_* and OTEL_RESOURCE_ATTRIBUTES,
// and fails if these name files that can't be read.
func NewProvider(cfg ProviderConfig) (*Provider, error) {
	// By default OpenTelemetry writes to standard error, including the value of a
	// malformed OTEL_EXPORTER_OTLP_HEADERS.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Log.Warn("traces", "cause", brief(err)) }))

	ctx := context.Background() // nothing here blocks
	to, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(cfg.Endpoint))
	if err != nil {
		return nil, fmt.Errorf("setting up traces: %w", err)
	}
	self, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		semconv.ServiceName("authsvc"), semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(uuid.NewString()),
	), resource.WithFromEnv())
	if err != nil { // the rest of the resource is usable
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
	_ = p.exporter.Shutdown(ctx) // aborts what is still being sent
}

// requestsOnly lets only requests begin a trace: clock, monitor and breaker call Redis
// all day.
type requestsOnly struct{ sdktrace.Sampler }

// ShouldSample implements sdktrace.Sampler.
func (r requestsOnly) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Kind != trace.SpanKindServer {
		return sdktrace.NeverSample().ShouldSample(p)
	}
	return r.Sampler.ShouldSample(p)
}

// exporter logs when sending begins to fail and when it succeeds again, once each. It
// is never called concurrently.
type exporter struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	lost int // spans dropped since sending last succeeded
}

// ExportSpans implements sdktrace.SpanExporter. It never returns an error, because
// OpenTelemetry would report each one.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil:
		if e.lost == 0 {
			e.log.Warn("traces can't be sent and are dropped; requests are not affected", "cause", brief(err))
		}
		e.lost += len(spans)
	case e.lost > 0:
		e.log.Info("traces are sent again", "lost_spans", e.lost)
		e.lost = 0
	}
	return nil
}

// brief returns the beginning of an error's text, which may hold a whole answer.
func brief(err error) string {
	const most = 300
	text := err.Error()
	return text[:min(len(text), most)]
}
