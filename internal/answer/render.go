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

// errorBody is every failure on the wire: the gateway's envelope, and RFC 6749
// section 5.2 for OAuth clients.
type errorBody struct {
	ErrorCode        string `json:"error_code"`
	ErrorMsg         string `json:"error_msg"`
	RequestID        string `json:"request_id"`
	Error            string `json:"error"`
	ErrorDescription string `json:"error_description"`
	ErrorURI         string `json:"error_uri"`
}

// JSON answers with JSON that no cache keeps (RFC 6749 section 5.1).
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

// Public answers 200 with what is the same for everybody and changes only with the
// process; caches may keep it for five minutes.
func (x *Exchange) Public(contentType string, b []byte) {
	x.Header().Set("Cache-Control", PublicCache)
	x.write(http.StatusOK, contentType, b)
}

// PublicCache is the Cache-Control of what is the same for everybody.
const PublicCache = "public, max-age=300"

// OK answers 200 without a body. No cache keeps it.
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
	_, _ = x.gin.Writer.Write(b) // a caller that has gone away gets no answer
}

// fail answers an error with its row; it is the only writer of failures. An error
// that is none of ours is APIG.0601, and says nothing of its cause.
func (x *Exchange) fail(err error) {
	var e *apierr.Error
	if !errors.As(err, &e) {
		e = apierr.Wrap(apierr.Internal, "An unexpected error occurred. Tell the operator the request_id; the log has the cause.", err)
	}
	x.failure = e
	if x.gin.Writer.Written() {
		return // a panic after the answer; it is still logged
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

// status returns the status of a failure: the row's own, or the one that the endpoint
// has for it, with the row in headers.
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
