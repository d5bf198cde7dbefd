package httpapi

import (
	"net/http"
	"time"
	"unicode/utf8"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
	"authsvc/internal/token"
)

// tokenBody is the body of a token answer (RFC 6749 section 5.1).
type tokenBody struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope,omitempty"`
}

// tokenRequest is a parsed request to the token endpoint.
type tokenRequest struct {
	form   form
	client client
	token.Request
}

// parseToken parses such a request, with rules 0 (413) to 3 of doc.go, as parse does.
func parseToken(x *answer.Exchange) (tokenRequest, error) {
	f, c, err := parse(x, grantType, clientID, clientSecret, refreshToken, throughData, scope)
	return tokenRequest{f, c, token.Request{
		GrantType:    token.GrantType(f.values[grantType]),
		Scope:        f.values[scope],
		ThroughData:  f.values[throughData],
		RefreshToken: f.values[refreshToken],
	}}, err
}

// token handles POST /oauth/token. It applies the rules of doc.go in order; the first
// that fails determines the answer.
func (s *server) token(x *answer.Exchange) error {
	r, err := parseToken(x) // rules 0 to 3
	if err != nil {
		return err
	}
	switch r.GrantType { // rule 4
	case token.ClientCredentials, token.RefreshToken:
	case "":
		return apierr.New(apierr.GrantTypeMissing, r.form.missing(x, grantType,
			"The grant_type parameter is missing. Send client_credentials or refresh_token, in the body."))
	default:
		return apierr.New(apierr.GrantTypeUnsupported,
			"The grant_type parameter is neither client_credentials nor refresh_token. Send one of them, in lower case."+edges(string(r.GrantType)))
	}
	if err := r.client.required(x, &r.form); err != nil { // rule 5
		return err
	}
	if r.GrantType == token.RefreshToken && r.RefreshToken == "" { // rule 5
		return apierr.New(apierr.RefreshTokenMissing, r.form.missing(x, refreshToken,
			"The refresh_token parameter is missing. Send the refresh_token of the latest token response."))
	}
	if utf8.RuneCountInString(r.ThroughData) > token.MaxThroughData { // rule 6
		return apierr.New(apierr.ThroughDataTooLong,
			"The through_data parameter is longer than 300 characters. Shorten it, for example to a reference to data kept elsewhere.")
	}
	who, err := s.authenticate(x, r.client) // rules 7 to 10
	if err != nil {
		return err
	}
	ctx, cancel := s.storeContext(x)
	defer cancel()
	r.Left = x.Left()
	t, presented, err := s.cfg.Manager.Token(ctx, who, r.Request) // rules 11 to 16
	if r.GrantType == token.RefreshToken {
		noteToken(x, presented, verdict(err, active))
	}
	if err != nil {
		return r.client.withhold(err)
	}
	return x.JSON(http.StatusOK, tokenBody{
		AccessToken:  t.GetAccess(),
		TokenType:    "Bearer",
		ExpiresIn:    int64(t.GetAccessExpiresIn() / time.Second),
		RefreshToken: t.GetRefresh(),
		Scope:        t.GetScope(),
	})
}
