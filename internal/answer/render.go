package answer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierr "authsvc/internal/errors"
)

// errorBody is the body of every failure: the gateway's envelope, and that of RFC 6749
// section 5.2 for OAuth clients.
type errorBody struct {
	ErrorCode        string `json:"error_code"`
	ErrorMsg         string `json:"error_msg"`
	RequestID        string `json:"request_id"`
	Error            string `json:"error"`
	ErrorDescription string `json:"error_description"`
	ErrorURI         string `json:"error_uri"`
}

// JSON answers with JSON that must not be cached (RFC 6749 section 5.1).
func (x *Exchange) JSON(status int, body any) error {
	b, err := encode(body)
	if err != nil {
		return err
	}
	x.noStore()
	x.write(status, "application/json", b)
	return nil
}

// PublicJSON answers 200 with JSON, as Public does.
func (x *Exchange) PublicJSON(body any) error {
	b, err := encode(body)
	if err != nil {
		return err
	}
	x.Public("application/json", b)
	return nil
}

// Public answers 200 with content that is the same for everybody and never changes while
// the process runs. Caches may keep it for five minutes.
func (x *Exchange) Public(contentType string, b []byte) {
	x.Header().Set("Cache-Control", "public, max-age=300")
	x.write(http.StatusOK, contentType, b)
}

// OK answers 200 without a body. It must not be cached.
func (x *Exchange) OK() {
	x.noStore()
	x.gin.Status(http.StatusOK)
}

func encode(body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the answer: %w", err)
	}
	return b, nil
}

func (x *Exchange) noStore() {
	x.Header().Set("Cache-Control", "no-store")
	x.Header().Set("Pragma", "no-cache")
}

func (x *Exchange) write(status int, contentType string, b []byte) {
	h := x.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	x.gin.Status(status)
	_, _ = x.gin.Writer.Write(b) // fails only if the caller has disconnected
}

// fail answers an error with its row; it is the only writer of failures. Any error that
// is not an *apierr.Error becomes APIG.0601, without its cause.
func (x *Exchange) fail(err error) {
	var e *apierr.Error
	if !errors.As(err, &e) {
		e = apierr.Wrap(apierr.Internal, "An unexpected error occurred. Tell the operator the request_id; the log has the cause.", err)
	}
	x.failure = e
	if x.gin.Writer.Written() {
		return // it panicked after the answer, which is still logged
	}
	h, status := x.Header(), x.status(e.Row)
	switch status {
	case http.StatusUnauthorized:
		if x.endpoint.Challenge != nil {
			h.Set("WWW-Authenticate", x.endpoint.Challenge(e))
		}
	case http.StatusMethodNotAllowed:
		h.Set("Allow", strings.Join(x.endpoint.Methods, ", ")) // RFC 9110 section 15.5.6
	}
	if s := int(e.RetryAfter / time.Second); s > 0 {
		h.Set("Retry-After", strconv.Itoa(s))
	}
	if err := x.JSON(status, errorBody{
		ErrorCode:        e.Row.Code(),
		ErrorMsg:         e.Row.Message(),
		RequestID:        x.id,
		Error:            e.OAuthName(),
		ErrorDescription: e.Description(),
		ErrorURI:         x.router.cfg.ErrorPages + e.Row.Code(),
	}); err != nil {
		panic(err) // six strings can be encoded
	}
}

// status returns the status of a failure: the row's, or the endpoint's own for it, in
// which case it adds the row to the headers.
func (x *Exchange) status(row apierr.Row) int {
	if x.endpoint.StatusFor == nil {
		return row.Status()
	}
	status := x.endpoint.StatusFor(x, row)
	if status == 0 {
		return row.Status()
	}
	x.Header().Set("X-Error-Status", strconv.Itoa(row.Status()))
	x.Header().Set("X-Error-Code", row.Code())
	x.Header().Set("X-Error-Msg", row.Message())
	return status
}
