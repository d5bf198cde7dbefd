package clients

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// golang.org/x/oauth2 in each of its styles.
func TestOAuth2(t *testing.T) {
	t.Parallel()
	for name, style := range map[string]oauth2.AuthStyle{
		"header": oauth2.AuthStyleInHeader, "body": oauth2.AuthStyleInParams, "unknown": oauth2.AuthStyleAutoDetect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service := serve(t, "plain")
			for name, secret := range secrets {
				t.Run(name, func(t *testing.T) {
					s := service.with(t, name)
					config := clientcredentials.Config{
						ClientID: s.worker, ClientSecret: secret, TokenURL: s.URL + "/oauth/token",
						Scopes: []string{"orders.read"}, AuthStyle: style,
						EndpointParams: url.Values{"through_data": {"tenant 7"}},
					}
					token, err := config.Token(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if token.Type() != "Bearer" || token.RefreshToken == "" || !token.Valid() || token.Extra("scope") != "orders.read" {
						t.Errorf("the token is %+v", token)
					}
					refresher := oauth2.Config{
						ClientID: s.worker, ClientSecret: secret,
						Endpoint: oauth2.Endpoint{TokenURL: config.TokenURL, AuthStyle: style},
					}
					next, err := refresher.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
					if err != nil {
						t.Fatal(err)
					}
					if next.RefreshToken == token.RefreshToken || next.AccessToken == token.AccessToken {
						t.Error("the refreshed pair is the old one")
					}
					s.wantRequests("token "+s.worker+" ok", "token "+s.worker+" ok")
					if a := s.introspect(next.AccessToken); !a.Active() || a.Text("scope") != "orders.read" || a.Text("through_data") != "tenant 7" {
						t.Errorf("introspect: %s", a.Body)
					}

					// A wrong secret: without a style, the library tries both, until
					// one has worked.
					wrong := clientcredentials.Config{
						ClientID: s.worker, ClientSecret: "another-" + secret, TokenURL: config.TokenURL, AuthStyle: style,
					}
					_, err = wrong.Token(t.Context())
					isWrongSecret(t, err)
					tries := []string{"token " + s.worker + " APIG.1009"}
					if style == oauth2.AuthStyleAutoDetect {
						tries = append(tries, tries[0])
					}
					s.wantRequests(tries...)
				})
			}
		})
	}
}

// isWrongSecret checks that a user can tell from an error what is wrong, and so can a
// program.
func isWrongSecret(t *testing.T, err error) {
	t.Helper()
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		t.Fatalf("%v; want a RetrieveError", err)
	}
	var body struct {
		Code      string `json:"error_code"`
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(refused.Body, &body); err != nil {
		t.Fatal(err)
	}
	if refused.ErrorCode != "invalid_client" || refused.Response.StatusCode != http.StatusBadRequest ||
		body.Code != "APIG.1009" || body.RequestID != refused.Response.Header.Get("X-Request-Id") ||
		!strings.HasSuffix(refused.ErrorURI, "/errors/APIG.1009") || !strings.Contains(err.Error(), wrongSecret) {
		t.Errorf("%v: %+v", err, refused)
	}
}

// clientcredentials gets one token, shares it among requests, and does not use the
// refresh token.
func TestOAuth2Client(t *testing.T) {
	t.Parallel()
	s := serve(t, "plain")
	config := clientcredentials.Config{
		ClientID: s.worker, ClientSecret: s.secret, TokenURL: s.URL + "/oauth/token", AuthStyle: oauth2.AuthStyleInHeader,
	}
	client := config.Client(context.Background())
	for range 3 {
		res, err := client.Get(s.URL + "/oauth/verify?scope=orders.read")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK || res.Header.Get("X-App-Key") != s.worker {
			t.Errorf("verify: %d %v", res.StatusCode, res.Header)
		}
	}
	s.wantRequests("token "+s.worker+" ok", "verify "+s.worker+" ok", "verify "+s.worker+" ok", "verify "+s.worker+" ok")
}

// What github.com/zitadel/oidc does, besides the code in docs/clients.md.
func TestZitadel(t *testing.T) {
	t.Parallel()
	s := serve(t, "special")

	// Its discovery expects OpenID Connect, and the error shows it.
	_, err := rs.NewResourceServerClientCredentials(t.Context(), s.URL, s.gateway, s.secret)
	if !errors.Is(err, oidc.ErrDiscoveryFailed) || !strings.Contains(err.Error(), "There is nothing at this path.") {
		t.Errorf("discovery: %v", err)
	}
	s.wantRequests("other  APIG.0101")

	server, err := rs.NewResourceServerClientCredentials(t.Context(), s.URL, s.worker, s.secret,
		rs.WithStaticEndpoints(s.URL+"/oauth/token", s.URL+"/oauth/introspect"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = rs.Introspect[*oidc.IntrospectionResponse](t.Context(), server, "any")
	var refused *oidc.Error
	if !errors.As(err, &refused) || refused.ErrorType != "unauthorized_client" || !strings.Contains(err.Error(), "The app does not have the role introspect.") {
		t.Errorf("without the role: %v", err)
	}
	s.wantRequests("introspect " + s.worker + " APIG.0304")
}
