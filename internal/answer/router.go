package answer

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	apierr "authsvc/internal/errors"
)

// Config configures a Router. Only TrustedProxies is optional.
type Config struct {
	Telemetry Telemetry
	Log       *slog.Logger
	// ErrorPages is the absolute URL, with a trailing slash, below which each error code
	// has its page.
	ErrorPages string
	// TrustedProxies are the networks whose X-Forwarded-For is trusted.
	TrustedProxies []netip.Prefix
	// Draining reports whether the process is about to stop: answers then close their
	// connection.
	Draining func() bool
	// NotFound returns what a path without an endpoint is answered with.
	NotFound func(*Exchange) error
}

// Endpoint handles a path. Handle is required.
type Endpoint struct {
	Name    string   // in logs and metrics, one of few
	Methods []string // that the path supports
	// Handle answers the request, or returns an error: an *apierr.Error, or any other,
	// which is answered with APIG.0601, as is a panic.
	Handle func(*Exchange) error
	// Challenge returns the WWW-Authenticate of a 401. It may be nil if there is none.
	Challenge func(*apierr.Error) string
	// StatusFor returns the status of a failure for a caller that supports only a few;
	// the row is then in headers. If it is nil or returns 0, the row's own is used.
	StatusFor func(*Exchange, apierr.Row) int
}

// Router is the handler of a listener. It routes each request to its endpoint, and
// answers those without one with the row that says so.
type Router struct {
	cfg       Config
	gin       *gin.Engine
	strangers lineBudget
}

// NewRouter returns a router without endpoints.
func NewRouter(cfg Config) (*Router, error) {
	gin.SetMode(gin.ReleaseMode)
	r := &Router{cfg: cfg, gin: gin.New()}
	r.gin.RedirectTrailingSlash = false
	r.gin.HandleMethodNotAllowed = true
	r.gin.UseRawPath = true                              // a differently encoded path is a different path
	if err := r.gin.SetTrustedProxies(nil); err != nil { // clientIP finds the address
		return nil, fmt.Errorf("setting up gin: %w", err)
	}
	r.gin.NoRoute(r.handler(Endpoint{Name: "other", Handle: cfg.NotFound}))
	r.gin.NoMethod(r.handler(Endpoint{Name: "other", Handle: wrongMethod}))
	return r, nil
}

// Handle adds an endpoint at a path, whose segments may be parameters (":name").
func (r *Router) Handle(path string, e Endpoint) {
	r.gin.Match(e.Methods, path, r.handler(e))
}

// Routes returns the paths and methods that have an endpoint.
func (r *Router) Routes() gin.RoutesInfo { return r.gin.Routes() }

// ServeHTTP implements http.Handler.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.gin.ServeHTTP(w, req) }

// handler wraps an endpoint in what every request needs. An error or panic of the
// endpoint is answered and logged here, and only here.
func (r *Router) handler(e Endpoint) gin.HandlerFunc {
	r.cfg.Telemetry.Expect(e.Name)
	return func(c *gin.Context) {
		r.cfg.Telemetry.Began()
		x := &Exchange{gin: c, router: r, endpoint: &e, start: time.Now(), id: newRequestID()}
		x.Header().Set("X-Request-Id", x.id)
		if r.cfg.Draining() {
			x.Header().Set("Connection", "close")
		}
		defer x.finish()
		if err := x.run(); err != nil {
			x.fail(err)
		}
	}
}

// wrongMethod answers a path that has endpoints for other methods, which gin has put into
// the Allow header.
func wrongMethod(x *Exchange) error {
	allowed := x.Header().Get("Allow")
	hint := "This path does not support the method. Use " + strings.ReplaceAll(allowed, ", ", " or ") + "."
	if allowed == http.MethodPost {
		hint += " Send the parameters in the body."
		if x.Request().Method == http.MethodGet {
			hint += " If the client did, it was redirected on the way (http to https, for example), which makes a POST a GET: give it the last address."
		}
	}
	return apierr.New(apierr.APIMethodNotFound, hint)
}
