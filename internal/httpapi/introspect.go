package httpapi

import (
	"net/http"

	"authsvc/internal/answer"
	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// activeBody is the answer for an active token (RFC 7662 section 2.2).
type activeBody struct {
	Active      bool   `json:"active"`
	ClientID    string `json:"client_id"`
	Sub         string `json:"sub"`
	Scope       string `json:"scope,omitempty"`
	TokenType   string `json:"token_type"`
	IssuedAt    int64  `json:"iat"`
	ExpiresAt   int64  `json:"exp"`
	Issuer      string `json:"iss"`
	JTI         string `json:"jti"`
	ThroughData string `json:"through_data,omitempty"`
}

// inactiveBody is the answer for any other token. The reason is an extension of RFC
// 7662, because the gateway must tell an expired token from an invalid one.
type inactiveBody struct {
	Active    bool   `json:"active"`
	ErrorCode string `json:"error_code,omitempty"`
	ErrorMsg  string `json:"error_msg,omitempty"`
}

// introspect handles POST /oauth/introspect (RFC 7662).
func (s *server) introspect(x *answer.Exchange) error {
	r, who, err := s.tokenCaller(x)
	if err != nil {
		return err
	}
	if !who.App().HasRole(app.RoleIntrospect) {
		return apierr.New(apierr.AppNotAuthorized,
			"The app does not have the role introspect. Ask the operator to add it to the app's roles.")
	}
	if err := r.tokenRequired(x); err != nil {
		return err
	}
	ctx, cancel := s.storeContext(x)
	defer cancel()
	i, err := s.cfg.Manager.Inspect(ctx, r.token)
	s.found(x, introspectEndpoint, i, err)
	if err != nil {
		return err
	}
	switch {
	case i.Reason != nil && s.cfg.IntrospectReason:
		return x.JSON(http.StatusOK, inactiveBody{ErrorCode: i.Reason.Row.Code(), ErrorMsg: i.Reason.Row.Message()})
	case i.Reason != nil:
		return x.JSON(http.StatusOK, inactiveBody{})
	}
	return x.JSON(http.StatusOK, activeBody{
		Active:      true,
		ClientID:    i.AppKey,
		Sub:         i.AppKey,
		Scope:       i.Scope,
		TokenType:   "Bearer",
		IssuedAt:    i.IssuedAt,
		ExpiresAt:   i.ExpiresAt,
		Issuer:      s.cfg.Issuer,
		JTI:         i.JTI,
		ThroughData: i.ThroughData,
	})
}

// presentedToken is a parsed request to /oauth/introspect or /oauth/revoke.
type presentedToken struct {
	form   form
	client client
	token  string // "": not given
}

// parsePresented parses such a request, with rules 0 (413) to 3, as parse does.
func parsePresented(x *answer.Exchange) (presentedToken, error) {
	f, c, err := parse(x, tokenParam, tokenTypeHint, clientID, clientSecret)
	return presentedToken{f, c, f.values[tokenParam]}, err
}

// tokenCaller returns the request and the authenticated app, by rules 0 to 3, 5 and 7 to
// 10 of the token endpoint (doc.go).
func (s *server) tokenCaller(x *answer.Exchange) (r presentedToken, who app.Authenticated, err error) {
	if r, err = parsePresented(x); err != nil {
		return r, who, err
	}
	if err = r.client.required(x, &r.form); err != nil {
		return r, who, err
	}
	who, err = s.authenticate(x, r.client)
	return r, who, err
}

// tokenRequired returns APIG.2205 if the token parameter is missing.
func (r *presentedToken) tokenRequired(x *answer.Exchange) error {
	if r.token != "" {
		return nil
	}
	return apierr.New(apierr.AuthParameterInvalid, r.form.missing(x, tokenParam,
		"The token parameter is missing. Send the token in the body."))
}
