package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"authsvc/internal/token"
)

// wholeKey is the context key of the request that a span is about.
type wholeKey struct{}

// traced makes a span of each request. A trace that a trusted proxy began goes on,
// and the proxy has decided whether it is recorded; one of anybody else is only
// linked to: who calls does not decide what we record.
func (s *server) traced(next http.Handler) http.Handler {
	issuer, _ := url.Parse(s.cfg.Issuer) // its settings were checked
	trusted := func(r *http.Request) bool { return within(parseIP(r.RemoteAddr), s.cfg.TrustedProxies) }
	spans := otelhttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, shown *http.Request) {
		whole := shown.Context().Value(wholeKey{}).(*http.Request).WithContext(shown.Context())
		whole.Body = shown.Body
		next.ServeHTTP(w, whole)
	}), "",
		otelhttp.WithTracerProvider(s.cfg.Traces),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithPublicEndpointFn(func(r *http.Request) bool { return !trusted(r) }),
		otelhttp.WithSpanNameFormatter(func(string, *http.Request) string { return "other" }), // until finish
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Clients put tokens and secrets anywhere: into the path, the query, the
		// Host, the User-Agent, a method. otelhttp records all of them but one, so
		// it is shown none.
		shown := &http.Request{
			Method: knownMethod(r.Method), URL: &url.URL{}, Host: issuer.Host, Header: http.Header{}, Body: r.Body,
			Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, TLS: r.TLS, RemoteAddr: r.RemoteAddr,
		}
		if v := r.Header.Values("Traceparent"); len(v) == 1 {
			shown.Header["Traceparent"] = v
			if trusted(r) {
				shown.Header["Tracestate"] = r.Header.Values("Tracestate")
			}
		}
		spans.ServeHTTP(w, shown.WithContext(context.WithValue(r.Context(), wholeKey{}, r)))
	})
}

// knownMethod is a method of RFC 9110 or 5789; any other is "", which OpenTelemetry
// calls _OTHER.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return ""
}

// trace says what became of a request, in its span.
func (x *exchange) trace(code string) {
	span := trace.SpanFromContext(x.Request.Context())
	if !span.IsRecording() {
		return
	}
	span.SetName(x.endpoint)
	span.SetAttributes(attribute.String("authsvc.code", code), attribute.String("authsvc.request_id", x.id))
	if route := x.FullPath(); route != "" {
		span.SetAttributes(semconv.HTTPRoute(route))
	}
	if x.app != "" {
		span.SetAttributes(attribute.String("authsvc.app", x.app))
	}
	if x.ip.IsValid() {
		span.SetAttributes(semconv.ClientAddress(x.ip.String()))
	}
	if e := x.failure; e != nil && e.Row.Status() >= 500 { // also where nginx is told 403
		span.SetStatus(codes.Error, code)
	}
}

// TracedStore returns a store whose calls are spans of the request that makes them.
func TracedStore(s token.Store, p trace.TracerProvider) token.Store {
	return tracedStore{s, p.Tracer("authsvc/internal/httpapi")}
}

type tracedStore struct {
	store  token.Store
	tracer trace.Tracer
}

// span begins a span, and returns what ends it.
func (s tracedStore) span(ctx context.Context, op string) (context.Context, func(error)) {
	ctx, span := s.tracer.Start(ctx, "store."+op)
	return ctx, func(err error) {
		var verdict token.StoreError
		if errors.As(err, &verdict) {
			span.SetAttributes(attribute.String("authsvc.verdict", string(verdict)))
		}
		if errors.Is(err, token.ErrUnavailable) { // the log has the cause
			span.SetStatus(codes.Error, string(token.ErrUnavailable))
		}
		span.End()
	}
}

func (s tracedStore) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	ctx, end := s.span(ctx, "create")
	err := s.store.Create(ctx, id, record, expireAt)
	end(err)
	return err
}

func (s tracedStore) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	ctx, end := s.span(ctx, "get")
	record, err := s.store.Get(ctx, id)
	end(err)
	return record, err
}

func (s tracedStore) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	ctx, end := s.span(ctx, "swap")
	err := s.store.Swap(ctx, id, was, next, expireAt, notAfter)
	end(err)
	return err
}

func (s tracedStore) Delete(ctx context.Context, id token.GrantID) error {
	ctx, end := s.span(ctx, "delete")
	err := s.store.Delete(ctx, id)
	end(err)
	return err
}

func (s tracedStore) Now(ctx context.Context) (time.Time, error) {
	ctx, end := s.span(ctx, "now")
	now, err := s.store.Now(ctx)
	end(err)
	return now, err
}
