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

// wholeKey is the context key of the request that a span describes.
type wholeKey struct{}

// Requests returns a handler that wraps each request to next in a span, or next itself
// if traces is nil. issuer is the absolute URL of the service. A trace begun by a
// trusted proxy is continued, and the proxy has decided whether it is recorded. Any
// other caller's trace is only linked to: callers do not decide what is recorded.
func Requests(next http.Handler, traces trace.TracerProvider, issuer string, proxies []netip.Prefix) http.Handler {
	if traces == nil {
		return next
	}
	self, _ := url.Parse(issuer) // checked with the settings
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
		// Clients put tokens and secrets anywhere: in the path, the query, the Host,
		// the User-Agent, the method. otelhttp records most of these, so it sees none.
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

// knownMethod returns m if it is a method of RFC 9110 or 5789, and "" for any other,
// which OpenTelemetry calls _OTHER.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return ""
}
