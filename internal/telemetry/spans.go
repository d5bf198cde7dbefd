package telemetry

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"authsvc/internal/answer"
)

// wholeKey is the context key of the request that a span is about.
type wholeKey struct{}

// Requests returns a handler that makes a span of each request to next, or next
// itself where traces is nil. issuer is the absolute URL of the service. A trace
// that one of the trusted proxies began goes on, and the proxy has decided whether
// it is recorded; a trace of anybody else is only linked to: the caller does not
// decide what we record.
func Requests(next http.Handler, traces trace.TracerProvider, issuer string, proxies []netip.Prefix) http.Handler {
	if traces == nil {
		return next
	}
	self, _ := url.Parse(issuer) // a setting that was checked
	spans := otelhttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, shown *http.Request) {
		whole := shown.Context().Value(wholeKey{}).(*http.Request).WithContext(shown.Context())
		whole.Body = shown.Body
		next.ServeHTTP(w, whole)
	}), "",
		otelhttp.WithTracerProvider(traces),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithPublicEndpointFn(func(r *http.Request) bool { return !answer.FromProxy(r, proxies) }),
		otelhttp.WithSpanNameFormatter(func(string, *http.Request) string { return "other" }), // until Answered
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Clients put tokens and secrets anywhere: into the path, the query, the
		// Host, the User-Agent, a method. otelhttp records all of them but one, so
		// it is shown none.
		shown := &http.Request{
			Method: knownMethod(r.Method), URL: &url.URL{}, Host: self.Host, Header: http.Header{}, Body: r.Body,
			Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, TLS: r.TLS, RemoteAddr: r.RemoteAddr,
		}
		if v := r.Header.Values("Traceparent"); len(v) == 1 {
			shown.Header["Traceparent"] = v
			if answer.FromProxy(r, proxies) {
				shown.Header["Tracestate"] = r.Header.Values("Tracestate")
			}
		}
		spans.ServeHTTP(w, shown.WithContext(context.WithValue(r.Context(), wholeKey{}, r)))
	})
}

// knownMethod returns a method of RFC 9110 or 5789, and "" for any other, which
// OpenTelemetry calls _OTHER.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return ""
}
