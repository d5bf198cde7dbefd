package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
	"authsvc/internal/token"
)

// verify handles GET, HEAD and POST /oauth/verify, for gateways that forward the head of
// their caller's request. The body, if any, is the caller's and is not read.
func (s *server) verify(x *answer.Exchange) error {
	v, err := parseVerify(x)
	if err != nil {
		return err
	}
	return s.verified(x, v)
}

// verifyRequest is a parsed request to verify.
type verifyRequest struct {
	token  string
	scopes []string // required by the API
}

// parseVerify parses a request to verify. An unknown or empty parameter is refused
// (APIG.2205): ignoring a mistyped scope would let everybody in. A missing token is
// APIG.0305, a second one 2206.
func parseVerify(x *answer.Exchange) (v verifyRequest, err error) {
	var scope, gateway string
	for name, value := range x.QueryPairs() {
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if err := errors.Join(nameErr, valueErr); err != nil {
			return v, apierr.Wrap(apierr.AuthParameterInvalid, "The query of the URL is malformed. Its parameters may be scope and gateway.", err)
		}
		to := &scope
		switch name {
		case "scope":
		case "gateway":
			to = &gateway
		default:
			return v, apierr.New(apierr.AuthParameterInvalid, "The query of the URL has a parameter that is neither scope nor gateway. Do not forward the caller's own query.")
		}
		if *to != "" || value == "" {
			return v, apierr.New(apierr.AuthParameterInvalid, "The "+name+" parameter in the query of the URL is empty or given more than once. Send it once, with a value, or leave it out.")
		}
		*to = value
	}
	switch {
	case gateway != "" && gateway != "nginx":
		return v, apierr.New(apierr.AuthParameterInvalid, "The gateway parameter in the query of the URL is not nginx. Leave it out for any other gateway.")
	case len(scope) > token.MaxScopeLen:
		return v, apierr.New(apierr.AuthParameterInvalid, "The scope parameter in the query of the URL is longer than the scopes of any app. Name only those that the API needs.")
	}
	if v.scopes = strings.Fields(scope); scope != "" && len(v.scopes) == 0 {
		return v, apierr.New(apierr.AuthParameterInvalid, "The scope parameter in the query of the URL names no scope. Name one, or leave it out.")
	}
	auth := x.Request().Header.Values("Authorization")
	if len(auth) > 1 {
		return v, apierr.New(apierr.AuthMethodInvalid, "The request has more than one Authorization header. Send one.")
	}
	if len(auth) == 1 {
		if scheme, t, _ := strings.Cut(auth[0], " "); strings.EqualFold(scheme, "Bearer") {
			v.token = strings.TrimSpace(t)
		}
	}
	if v.token == "" {
		return v, apierr.New(apierr.AuthIncorrect, "The request has no access token. Send it as Authorization: Bearer at_...")
	}
	return v, nil
}

// verified answers 200 with what the backend may know about the caller, or returns the
// row that refuses it.
func (s *server) verified(x *answer.Exchange, v verifyRequest) error {
	ctx, cancel := s.storeContext(x)
	defer cancel()
	i, err := s.cfg.Manager.Inspect(ctx, v.token)
	x.SetApp(i.AppKey)
	if err == nil && i.Reason == nil {
		i.Reason = v.lacks(i.Scope)
	}
	s.found(x, verifyEndpoint, i, err)
	if err != nil {
		return err
	}
	if i.Reason != nil {
		return i.Reason
	}
	// Always send all four, even empty: a gateway that copies them must overwrite what
	// its caller made up.
	h := x.Header()
	h.Set("X-App-Key", i.AppKey)
	h.Set("X-App-Scope", i.Scope)
	h.Set("X-Token-Expires", strconv.FormatInt(i.ExpiresAt, 10))
	h.Set("X-Through-Data", percentEncode(i.ThroughData))
	x.OK()
	return nil
}

// lacks returns APIG.0304 if the API needs a scope that was not granted, else nil.
func (v verifyRequest) lacks(scope string) *apierr.Error {
	granted := strings.Fields(scope)
	for _, s := range v.scopes {
		if !slices.Contains(granted, s) {
			return &apierr.Error{
				Row: apierr.AppNotAuthorized, OAuth: "insufficient_scope",
				Hint: "The access token lacks a scope that this API needs. Request a token with that scope; the operator can add it to the app.",
			}
		}
	}
	return nil
}

// percentEncode makes any text a valid header value: it escapes everything except
// unreserved characters (RFC 3986 section 2.3).
func percentEncode(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// bearerChallenge returns the WWW-Authenticate of a refused token (RFC 6750 section 3.1:
// without a token, no error).
func bearerChallenge(e *apierr.Error) string {
	if e.Row == apierr.AuthIncorrect {
		return `Bearer realm="authsvc"`
	}
	return fmt.Sprintf(`Bearer realm="authsvc", error="%s", error_description="%s"`, e.OAuthName(), e.Description())
}

// nginxStatus returns a status that nginx's auth_request passes on, if the query says
// that the gateway is nginx: 401 for an invalid token, 403 for anything else.
func nginxStatus(x *answer.Exchange, row apierr.Row) int {
	if x.Query("gateway") != "nginx" {
		return 0
	}
	switch row {
	case apierr.AuthIncorrect, apierr.AccessTokenInvalid, apierr.AccessTokenExpired, apierr.AppNotExist:
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}
