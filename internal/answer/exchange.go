package answer

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

	apierr "authsvc/internal/errors"
)

// Exchange is one request and its answer. It belongs to the goroutine of the request,
// and ends with it.
type Exchange struct {
	gin      *gin.Context
	router   *Router
	endpoint *Endpoint
	start    time.Time
	id       string // the request id

	ip      netip.Addr    // of the client; not valid where it can't be told
	app     string        // of the request, once it is known
	failure *apierr.Error // that was answered; nil for a success

	notes    []slog.Attr // of the endpoint, for the log line
	noteRoom [3]slog.Attr
}

// Request returns the request.
func (x *Exchange) Request() *http.Request { return x.gin.Request }

// Writer returns what the answer is written to. It is for answers that none of the
// renderers fits.
func (x *Exchange) Writer() http.ResponseWriter { return x.gin.Writer }

// Header returns the header of the answer.
func (x *Exchange) Header() http.Header { return x.gin.Writer.Header() }

// Param returns the value of a parameter of the path, "" for one that is not there.
func (x *Exchange) Param(name string) string { return x.gin.Param(name) }

// Query returns the first value of a parameter of the query, "" for one that is not
// there.
func (x *Exchange) Query(name string) string { return x.gin.Query(name) }

// Negotiate returns which of the media types the Accept header prefers: the first
// where there is no such header, "" where it takes none of them.
func (x *Exchange) Negotiate(offered ...string) string { return x.gin.NegotiateFormat(offered...) }

// ClientIP returns the address that the request came from. It is not valid where that
// can't be told, and no network contains it then.
func (x *Exchange) ClientIP() netip.Addr { return x.ip }

// SetApp sets the app of the request, for the log. It takes only an app that exists, or
// that is proved to have existed: an unknown key may be a secret in the wrong place.
func (x *Exchange) SetApp(key string) { x.app = key }

// Note adds a field to the log line of the request, unless the value is empty. The
// first three take no memory of their own.
func (x *Exchange) Note(field, value string) {
	if value == "" {
		return
	}
	if x.notes == nil {
		x.notes = x.noteRoom[:0]
	}
	x.notes = append(x.notes, slog.String(field, value))
}

// Context returns the context of what is done for the request. It has the request id
// (see RequestID), and does not end when the caller goes away: that would only turn
// a refresh that is under way into one whose outcome nobody knows.
func (x *Exchange) Context() context.Context {
	return context.WithValue(context.WithoutCancel(x.gin.Request.Context()), requestIDKey{}, x.id)
}

// requestIDKey is the context key of the request id.
type requestIDKey struct{}

// RequestID returns the id of the request that something is done for, so that what is
// logged beside the request can name it; "" for none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// run calls the endpoint, after the limits on the head of the request (rule 0 of the
// precedence in package httpapi). A panic becomes an error.
func (x *Exchange) run() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	x.ip = clientIP(x.gin.Request, x.router.cfg.TrustedProxies)
	if err := checkHead(x.gin.Request); err != nil {
		return err
	}
	return x.endpoint.Handle(x)
}
