package httpapi

import (
	"slices"
	"strings"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
)

// notFound answers a request to a path that is none of paths. The hint names the path that
// was meant, where that can be seen.
func notFound(x *answer.Exchange, paths []string) error {
	return apierr.New(apierr.APINotFound, elsewhere(x.Request().URL.Path, paths))
}

// elsewhere returns the hint for a path that is none of paths.
func elsewhere(path string, paths []string) string {
	const nothing = "There is nothing at this path. "
	if len(path) <= 200 {
		meant := "/" + strings.Join(strings.FieldsFunc(strings.ToLower(path), func(r rune) bool {
			return r == '/' || r <= ' ' || r == '"' || r == '\''
		}), "/")
		if slices.Contains(paths, meant) {
			return nothing + "It is " + meant + ", in lower case, with single slashes, and with nothing after it."
		}
		for _, p := range paths {
			if strings.HasSuffix(meant, p) {
				return nothing + "It has something before " + p + ": leave that out, or have the proxy in front take it off."
			}
		}
		for _, e := range elsewheres {
			if slices.Contains(e.paths, meant) {
				return nothing + e.hint
			}
		}
	}
	return nothing + "Paths must match exactly, without a trailing slash: tokens are at /oauth/token, the error codes at /errors."
}

// elsewheres are paths that other services of this kind have, and what to use here.
var elsewheres = []struct {
	paths []string
	hint  string
}{
	{
		[]string{"/health", "/healthz", "/health/live", "/health/ready", "/livez", "/readyz", "/ready", "/live", "/ping", "/status", "/metrics", "/actuator/health"},
		"Probes and metrics are on the admin listener (--admin-listen), at /livez, /readyz and /metrics.",
	},
	{
		[]string{"/.well-known/jwks.json", "/.well-known/jwks", "/jwks.json", "/jwks", "/oauth/jwks", "/oauth/jwks.json", "/oauth2/jwks", "/oauth/certs", "/oauth2/certs", "/certs", "/keys", "/oauth/keys", "/oauth2/v1/keys"},
		"There are no public keys, since tokens are opaque: send them to /oauth/introspect or /oauth/verify.",
	},
	{
		[]string{"/token", "/oauth2/token", "/oauth2/v1/token", "/oauth/v2/token", "/oauth/tokens", "/oauth/access_token", "/oauth/accesstoken", "/oauth/refresh", "/connect/token", "/v1/token", "/api/token", "/auth/token"},
		"Tokens are at /oauth/token, new ones and refreshed ones.",
	},
	{
		[]string{"/introspect", "/oauth2/introspect", "/oauth/introspection", "/oauth/token/introspect", "/oauth/token_info", "/oauth/tokeninfo", "/oauth/check_token"},
		"Introspection is at /oauth/introspect.",
	},
	{
		[]string{"/revoke", "/oauth2/revoke", "/oauth/revocation", "/oauth/token/revoke", "/oauth/logout", "/logout"},
		"Revocation is at /oauth/revoke.",
	},
	{
		[]string{"/authorize", "/oauth/authorize", "/oauth2/authorize", "/oauth/auth", "/userinfo", "/oauth/userinfo", "/login"},
		"Tokens are of apps, not of people, who have nowhere to sign in: an app gets one at /oauth/token with grant_type=client_credentials.",
	},
}
