package telemetry

import (
	"context"
	"log/slog"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
	"authsvc/internal/httpapi"
	"authsvc/internal/token"
)

var _ httpapi.Telemetry = (*Metrics)(nil)

// Expect implements answer.Telemetry. It creates the counters of successes and of
// faults of the service: an alert needs their 0.
func (m *Metrics) Expect(endpoint string) {
	for _, code := range []string{answer.CodeOK, apierr.Internal.Code(), apierr.Unavailable.Code()} {
		m.requests.WithLabelValues(endpoint, code)
	}
}

// ExpectVerdicts implements httpapi.Telemetry.
func (m *Metrics) ExpectVerdicts(endpoint string, verdicts ...string) {
	for _, v := range verdicts {
		m.verdicts.WithLabelValues(endpoint, v)
	}
}

// Began implements answer.Telemetry.
func (m *Metrics) Began() { m.inFlight.Inc() }

// Unlogged implements answer.Telemetry.
func (m *Metrics) Unlogged() { m.unlogged.Inc() }

// Verdict implements httpapi.Telemetry.
func (m *Metrics) Verdict(endpoint, verdict string) {
	m.verdicts.WithLabelValues(endpoint, verdict).Inc()
}

// Answered implements answer.Telemetry: it counts the request and completes its span.
func (m *Metrics) Answered(ctx context.Context, o answer.Outcome) {
	m.requests.WithLabelValues(o.Endpoint, o.Code).Inc()
	m.durations.WithLabelValues(o.Endpoint, o.Code).Observe(o.Took.Seconds())
	m.inFlight.Dec()

	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetName(o.Endpoint)
	span.SetAttributes(attribute.String("authsvc.code", o.Code), attribute.String("authsvc.request_id", o.RequestID))
	if o.Route != "" {
		span.SetAttributes(semconv.HTTPRoute(o.Route))
	}
	if o.App != "" {
		span.SetAttributes(attribute.String("authsvc.app", o.App))
	}
	if o.ClientIP.IsValid() {
		span.SetAttributes(semconv.ClientAddress(o.ClientIP.String()))
	}
	if o.Fault {
		span.SetStatus(codes.Error, o.Code)
	}
}

// TraceID implements answer.Telemetry.
func (m *Metrics) TraceID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		return sc.TraceID().String()
	}
	return ""
}

// GrantEvents returns the OnEvent of a token.Manager: it counts all events, and logs
// security events with the id of the request that caused them. Replays that were spared
// are logged too, but are none.
func (m *Metrics) GrantEvents(log *slog.Logger) func(context.Context, token.Event) {
	return func(ctx context.Context, e token.Event) {
		m.grants.WithLabelValues(string(e.Kind)).Inc()
		level, security := slog.LevelInfo, slog.Attr{} // an empty one is left out
		switch e.Kind {
		case token.EventRefreshReplayed, token.EventGrantHealed:
			level, security = slog.LevelWarn, slog.Bool("security", true)
		case token.EventCallerLeft:
			m.left.WithLabelValues(m.leftApps.label(e.AppKey)).Inc()
		case token.EventReplaySpared:
		default:
			return
		}
		log.LogAttrs(ctx, level, string(e.Kind), security,
			slog.String("request_id", answer.RequestID(ctx)), slog.String("app", e.AppKey), slog.String("jti", e.JTI))
	}
}

// firstApps bounds the values of a label with apps.
type firstApps struct {
	mu   sync.Mutex
	apps map[string]bool
}

const (
	maxAppLabels = 100
	otherApps    = "others" // too short for an AppKey
)

// label returns the app, or otherApps if there are too many.
func (f *firstApps) label(app string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.apps[app] {
		if len(f.apps) == maxAppLabels {
			return otherApps
		}
		if f.apps == nil {
			f.apps = map[string]bool{}
		}
		f.apps[app] = true
	}
	return app
}
