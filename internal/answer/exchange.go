package answer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
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

	ip      netip.Addr    // of the client; not valid if it is not known
	app     string        // of the request, once it is known
	proved  bool          // the request is not a stranger's
	failure *apierr.Error // that was answered; nil for a success

	notes    []slog.Attr // added by the endpoint to the log line
	noteRoom [3]slog.Attr
}

// Request returns the request.
func (x *Exchange) Request() *http.Request { return x.gin.Request }

// Writer returns the writer of the answer, for answers that fit none of the renderers.
func (x *Exchange) Writer() http.ResponseWriter { return x.gin.Writer }

// Header returns the header of the answer.
func (x *Exchange) Header() http.Header { return x.gin.Writer.Header() }

// Param returns the value of a path parameter, or "" if there is none.
func (x *Exchange) Param(name string) string { return x.gin.Param(name) }

// Query returns the first value of a query parameter, or "" if there is none among the
// first hundred. A malformed pair counts as missing.
func (x *Exchange) Query(name string) string {
	pairs := 0
	for n, v := range x.QueryPairs() {
		if pairs++; pairs > 100 {
			break
		}
		n, nameErr := url.QueryUnescape(n)
		v, valueErr := url.QueryUnescape(v)
		if n == name && nameErr == nil && valueErr == nil {
			return v
		}
	}
	return ""
}

// QueryPairs returns the names and values in the query of the URL, which are still
// encoded. Unlike url.ParseQuery, it keeps nothing: a query can have 16,000 of them.
func (x *Exchange) QueryPairs() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for pair := range strings.SplitSeq(x.gin.Request.URL.RawQuery, "&") {
			if pair == "" {
				continue
			}
			name, value, _ := strings.Cut(pair, "=")
			if !yield(name, value) {
				return
			}
		}
	}
}

// Negotiate returns the offered media type that the Accept header names first: the first
// of them if there is no such header, "" if it accepts none of them.
func (x *Exchange) Negotiate(offered ...string) string {
	accept, accepted := x.gin.Request.Header.Get("Accept"), false
	for part := range strings.SplitSeq(accept[:min(len(accept), 1<<10)], ",") { // browsers send a tenth of that
		part, _, _ = strings.Cut(part, ";")
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		accepted = true
		prefix, wild := strings.CutSuffix(part, "*")
		prefix = strings.TrimPrefix(prefix, "*/")
		for _, offer := range offered {
			if offer == part || wild && strings.HasPrefix(offer, prefix) {
				return offer
			}
		}
	}
	if accepted {
		return ""
	}
	return offered[0]
}

// ClientIP returns the address that the request came from. If that is not known, the
// address is not valid, and no network contains it.
func (x *Exchange) ClientIP() netip.Addr { return x.ip }

// SetApp sets the app of the request, for the log. The app must exist, or be proved to
// have existed: an unknown key may be a misplaced secret.
func (x *Exchange) SetApp(key string) { x.app = key }

// SetProved says that the request is not a stranger's: an app was authenticated, or a token
// that this service signed was presented, valid or not.
func (x *Exchange) SetProved() { x.proved = true }

// Note adds a field to the log line of the request, unless the value is empty. The
// first three do not allocate.
func (x *Exchange) Note(field, value string) {
	if value == "" {
		return
	}
	if x.notes == nil {
		x.notes = x.noteRoom[:0]
	}
	x.notes = append(x.notes, slog.String(field, value))
}

// Context returns the context for the work of the request. It holds the request id (see
// RequestID), and does not end when the caller disconnects: that would only turn a
// refresh in progress into one whose outcome nobody knows.
func (x *Exchange) Context() context.Context {
	return context.WithValue(context.WithoutCancel(x.gin.Request.Context()), requestIDKey{}, x.id)
}

// Left returns a channel that is closed when the caller has left: when it closed its
// connection, its side of it, or its stream. Over HTTP/1 this is noticed once the body has
// been read, unless the caller has sent another request behind it.
func (x *Exchange) Left() <-chan struct{} { return x.gin.Request.Context().Done() }

// requestIDKey is the context key of the request id.
type requestIDKey struct{}

// RequestID returns the id of the request that ctx belongs to, or "" if there is none, so
// that other log lines can refer to the request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// run checks the limits on the head of the request (rule 0 of the precedence in package
// httpapi) and calls the endpoint. A panic becomes an error.
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
