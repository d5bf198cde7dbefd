package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"authsvc/internal/answer"
	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/token"
)

// Config configures the API. Nothing is optional.
type Config struct {
	Manager   *token.Manager
	Apps      *app.Registry
	Telemetry Telemetry
	Log       *slog.Logger

	// Issuer is the absolute URL of the service, without a trailing slash: every URL in
	// an answer begins with it, never with the Host header.
	Issuer string
	// TrustedProxies are the networks whose X-Forwarded-For is trusted.
	TrustedProxies []netip.Prefix
	// StoreTimeout bounds the total time that a request waits for the store.
	StoreTimeout time.Duration
	// IntrospectReason makes /oauth/introspect say why a token is not active.
	IntrospectReason bool
	// Draining reports whether the process is about to stop: answers then close their
	// connection.
	Draining func() bool
}

// Telemetry receives what the endpoints report. The rules of answer.Telemetry apply.
type Telemetry interface {
	answer.Telemetry
	// ExpectVerdicts announces the verdicts of an endpoint before its first request.
	ExpectVerdicts(endpoint string, verdicts ...string)
	// Verdict reports the verdict on a token: active, or the error code that says why
	// not. If that can't be determined, there is no verdict.
	Verdict(endpoint, verdict string)
}

// The names of the endpoints that report verdicts, in logs and metrics.
const (
	introspectEndpoint = "introspect"
	verifyEndpoint     = "verify"
)

// server holds the endpoints.
type server struct{ cfg Config }

// New returns the handler of the public listener.
func New(cfg Config) (*answer.Router, error) {
	description, err := newOpenAPI(cfg.Issuer)
	if err != nil {
		return nil, err
	}
	var paths []string
	r, err := answer.NewRouter(answer.Config{
		Telemetry: cfg.Telemetry, Log: cfg.Log, ErrorPages: cfg.Issuer + "/errors/",
		TrustedProxies: cfg.TrustedProxies, Draining: cfg.Draining,
		NotFound: func(x *answer.Exchange) error { return notFound(x, paths) },
	})
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg}
	const get, head, post = http.MethodGet, http.MethodHead, http.MethodPost
	for _, e := range []struct {
		path string
		answer.Endpoint
	}{
		{"/oauth/token", answer.Endpoint{Name: "token", Methods: []string{post}, Handle: s.token, Challenge: basicChallenge}},
		{"/v1/apigw/oauth2/token", answer.Endpoint{Name: "token", Methods: []string{post}, Handle: s.token, Challenge: basicChallenge}},
		{"/oauth/introspect", answer.Endpoint{Name: introspectEndpoint, Methods: []string{post}, Handle: s.introspect, Challenge: basicChallenge}},
		{"/oauth/verify", answer.Endpoint{
			Name: verifyEndpoint, Methods: []string{get, head, post}, Handle: s.verify,
			Challenge: bearerChallenge, StatusFor: nginxStatus,
		}},
		{"/oauth/revoke", answer.Endpoint{Name: "revoke", Methods: []string{post}, Handle: s.revoke, Challenge: basicChallenge}},
		{"/.well-known/oauth-authorization-server", answer.Endpoint{Name: "metadata", Methods: []string{get, head}, Handle: s.metadata}},
		{"/errors", answer.Endpoint{Name: "errors", Methods: []string{get, head}, Handle: errorPages}},
		{"/errors/:code", answer.Endpoint{Name: "errors", Methods: []string{get, head}, Handle: errorPages}},
		{"/openapi.yaml", answer.Endpoint{Name: "openapi", Methods: []string{get, head}, Handle: description.yaml}},
		{"/openapi.json", answer.Endpoint{Name: "openapi", Methods: []string{get, head}, Handle: description.json}},
	} {
		r.Handle(e.path, e.Endpoint)
		paths = append(paths, e.path)
	}
	verdicts := []string{
		active, apierr.AccessTokenInvalid.Code(), apierr.AccessTokenExpired.Code(),
		apierr.AppNotExist.Code(), apierr.AppFrozen.Code(),
	}
	cfg.Telemetry.ExpectVerdicts(introspectEndpoint, verdicts...)
	cfg.Telemetry.ExpectVerdicts(verifyEndpoint, append(verdicts, apierr.AppNotAuthorized.Code())...)
	return r, nil
}

// storeContext returns the context of all store calls of a request, with one deadline.
func (s *server) storeContext(x *answer.Exchange) (context.Context, context.CancelFunc) {
	return context.WithTimeout(x.Context(), s.cfg.StoreTimeout)
}

// basicChallenge returns the WWW-Authenticate of endpoints that authenticate an app.
func basicChallenge(*apierr.Error) string { return `Basic realm="authsvc", charset="UTF-8"` }
