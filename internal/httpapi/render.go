package httpapi

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

// render answers with JSON that no cache keeps (RFC 6749 section 5.1).
func (x *exchange) render(status int, body any) error {
	x.noStore()
	return x.write(status, body)
}

// renderPublic answers with JSON that is the same for everybody and changes only
// with the process; caches may keep it for five minutes.
func (x *exchange) renderPublic(body any) error {
	x.Header("Cache-Control", "public, max-age=300")
	return x.write(http.StatusOK, body)
}

func (x *exchange) noStore() {
	x.Header("Cache-Control", "no-store")
	x.Header("Pragma", "no-cache")
}

func (x *exchange) write(status int, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	x.Header("Content-Type", "application/json")
	x.Header("X-Content-Type-Options", "nosniff")
	x.Header("Content-Length", strconv.Itoa(len(b)))
	x.Status(status)
	_, _ = x.Writer.Write(b) // a caller that has gone away gets no answer
	return nil
}

// fail answers an error with its row; it is the only writer of failures. An
// error that is none of ours is APIG.0601 and says nothing of its cause.
func (x *exchange) fail(err error) {
	var e *apierr.Error
	if !errors.As(err, &e) {
		e = apierr.Wrap(apierr.Internal, "Something unforeseen happened. Tell the operator the request_id; the log has the cause under it.", err)
	}
	x.failure = e
	if x.Writer.Written() {
		return // a panic after the answer; it is still logged
	}
	status := e.Row.Status()
	if x.statusFor != nil {
		x.Header("X-Error-Status", strconv.Itoa(status))
		x.Header("X-Error-Code", e.Row.Code())
		x.Header("X-Error-Msg", e.Row.Message())
		status = x.statusFor(e.Row)
	}
	switch status {
	case http.StatusUnauthorized:
		x.Header("WWW-Authenticate", x.challenge(e))
	case http.StatusMethodNotAllowed:
		x.Header("Allow", strings.Join(x.methods, ", ")) // RFC 9110 section 15.5.6
	}
	if s := int(e.RetryAfter / time.Second); s > 0 {
		x.Header("Retry-After", strconv.Itoa(s))
	}
	if err := x.render(status, errorBody{
		ErrorCode:        e.Row.Code(),
		ErrorMsg:         e.Row.Message(),
		RequestID:        x.id,
		Error:            e.OAuthName(),
		ErrorDescription: describable(e.Hint),
		ErrorURI:         x.server.cfg.Issuer + "/errors/" + e.Row.Code(),
	}); err != nil {
		panic(err) // six strings can be encoded
	}
}

// challenge is the WWW-Authenticate of a 401.
func (x *exchange) challenge(e *apierr.Error) string {
	if x.endpoint != verifyEndpoint {
		return `Basic realm="authsvc", charset="UTF-8"`
	}
	if e.Row == apierr.AuthIncorrect { // RFC 6750 section 3.1: without a token, no error
		return `Bearer realm="authsvc"`
	}
	return fmt.Sprintf(`Bearer realm="authsvc", error="%s", error_description="%s"`, e.OAuthName(), describable(e.Hint))
}

// describable keeps a text within the characters of an error_description (RFC
// 6749 section 5.2).
func describable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, s)
}
