package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/token"
)

// The limits of a request's head (the table's rows APIG.0201, 414 and 494).
const (
	maxURI       = 32 << 10
	maxHeader    = 32 << 10
	maxAllHeader = 128 << 10
)

// MaxHeaderBytes is what an http.Server must let through for this package to
// answer heads that are too large with their row.
const MaxHeaderBytes = 1 << 20

// Config is what the API is made of. Nothing is optional.
type Config struct {
	Manager   *token.Manager
	Apps      *app.Registry
	Telemetry Telemetry
	Log       *slog.Logger

	// Issuer is the absolute URL of the service, without a slash at its end:
	// every URL that is printed begins with it, never with the Host header.
	Issuer string
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// StoreTimeout bounds what a request waits for the store, in all.
	StoreTimeout time.Duration
	// IntrospectReason makes /oauth/introspect say why a token is not active.
	IntrospectReason bool
	// Draining tells that the process is about to stop: answers then ask for
	// their connection to be closed.
	Draining func() bool
}

type server struct{ cfg Config }

// The names, in logs and metrics, of the endpoints that are told apart by them.
const (
	introspectEndpoint = "introspect"
	verifyEndpoint     = "verify"
)

// verdicts are what a token may be found to be, by the endpoint that is told it.
var verdicts = func() map[string][]string {
	of := []string{Active}
	for _, row := range []apierr.Row{apierr.AccessTokenInvalid, apierr.AccessTokenExpired, apierr.AppNotExist, apierr.AppFrozen} {
		of = append(of, row.Code())
	}
	return map[string][]string{introspectEndpoint: of, verifyEndpoint: append(of[:len(of):len(of)], apierr.AppNotAuthorized.Code())}
}()

// New returns the handler of the public listener. It fails for a trusted proxy
// that is not valid.
func New(cfg Config) (*gin.Engine, error) {
	gin.SetMode(gin.ReleaseMode)
	s := &server{cfg: cfg}
	g := gin.New()
	g.RedirectTrailingSlash = false
	g.HandleMethodNotAllowed = true
	g.UseRawPath = true                              // a path that is encoded in another way is another path
	if err := g.SetTrustedProxies(nil); err != nil { // the address is our own business
		return nil, fmt.Errorf("setting up gin: %w", err)
	}
	description, err := newOpenAPI(cfg.Issuer)
	if err != nil {
		return nil, err
	}
	const get, head, post = http.MethodGet, http.MethodHead, http.MethodPost
	for _, r := range []struct {
		path     string
		endpoint string // its name in logs and metrics
		methods  []string
		handle   func(*exchange) error
	}{
		{"/oauth/token", "token", []string{post}, (*exchange).token},
		{"/v1/apigw/oauth2/token", "token", []string{post}, (*exchange).token},
		{"/oauth/introspect", introspectEndpoint, []string{post}, (*exchange).introspect},
		{"/oauth/verify", verifyEndpoint, []string{get, head, post}, (*exchange).verify},
		{"/oauth/revoke", "revoke", []string{post}, (*exchange).revoke},
		{"/.well-known/oauth-authorization-server", "metadata", []string{get, head}, (*exchange).metadata},
		{"/errors", "errors", []string{get, head}, (*exchange).errorPages},
		{"/errors/:code", "errors", []string{get, head}, (*exchange).errorPages},
		{"/openapi.yaml", "openapi", []string{get, head}, description.yaml},
		{"/openapi.json", "openapi", []string{get, head}, description.json},
	} {
		g.Match(r.methods, r.path, s.endpoint(r.endpoint, r.methods, r.handle))
	}
	g.NoRoute(s.endpoint("other", nil, func(*exchange) error {
		return apierr.New(apierr.APINotFound, "There is nothing at this path. Paths are compared exactly, without a slash at the end: tokens are at /oauth/token, the error codes at /errors.")
	}))
	g.NoMethod(s.endpoint("other", nil, func(*exchange) error {
		return apierr.New(apierr.APIMethodNotFound, "This path does not take the method. The Allow header lists those that it takes.")
	}))
	return g, nil
}

// exchange is one request and its answer.
type exchange struct {
	*gin.Context
	server   *server
	start    time.Time
	id       string // the request id
	endpoint string
	methods  []string // that the path takes

	// statusFor replaces the status of a failure's row, for a gateway that
	// lets few through; the row then stands in headers. Usually nil.
	statusFor func(apierr.Row) int

	ip      netip.Addr    // of the client; not valid where it cannot be told
	app     string        // of the request, once it is known; for the log
	failure *apierr.Error // that was answered; nil for a success
}

// endpoint turns a handler into gin's: around each is what holds for every
// request. Whatever a handler returns or panics with is answered and logged here,
// and only here.
func (s *server) endpoint(name string, methods []string, handle func(*exchange) error) gin.HandlerFunc {
	s.cfg.Telemetry.Expect(name, verdicts[name]...)
	return func(c *gin.Context) {
		s.cfg.Telemetry.Began()
		x := &exchange{Context: c, server: s, start: time.Now(), id: newRequestID(), endpoint: name, methods: methods}
		c.Header("X-Request-Id", x.id)
		if s.cfg.Draining() {
			c.Header("Connection", "close")
		}
		defer x.finish()
		if err := x.run(handle); err != nil {
			x.fail(err)
		}
	}
}

// run is the handler behind the limits on a request's head (rule 0). A panic
// becomes an error.
func (x *exchange) run(handle func(*exchange) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	x.ip = clientIP(x.Request, x.server.cfg.TrustedProxies)
	if x.endpoint == verifyEndpoint && x.Query("gateway") == "nginx" {
		x.statusFor = nginxStatus
	}
	if err := checkHead(x.Request); err != nil {
		return err
	}
	return handle(x)
}

func checkHead(r *http.Request) error {
	if len(r.RequestURI) > maxURI {
		return apierr.New(apierr.RequestURITooLarge, "The request URI is longer than 32 KiB. Parameters belong in the body.")
	}
	all := len("Host: \r\n") + len(r.Host)
	if all > maxHeader {
		return errHeaderTooLarge()
	}
	for name, values := range r.Header {
		for _, v := range values {
			n := len(name) + len(": \r\n") + len(v)
			if n > maxHeader {
				return errHeaderTooLarge()
			}
			all += n
		}
	}
	if all > maxAllHeader {
		return apierr.New(apierr.RequestHeadersTooLarge, "The request headers are larger than 128 KiB in all. Leave some out.")
	}
	return nil
}

func errHeaderTooLarge() error {
	return apierr.New(apierr.RequestHeadersTooLarge, "A request header is larger than 32 KiB. Leave it out or make it smaller.")
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// storeContext bounds everything that a request asks of the store by one
// deadline. It does not end when the caller goes away: that would only turn a
// refresh that is under way into one whose outcome nobody knows.
func (x *exchange) storeContext() (context.Context, context.CancelFunc) {
	ctx := context.WithValue(context.WithoutCancel(x.Request.Context()), requestIDKey{}, x.id)
	return context.WithTimeout(ctx, x.server.cfg.StoreTimeout)
}

// requestIDKey is the context key of the request id.
type requestIDKey struct{}

// RequestID returns the id of the request that a call of the Manager belongs to, for
// what is logged beside the request; "" for none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
