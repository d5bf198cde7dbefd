package httpapi

import "authsvc/internal/answer"

// metadataBody is the server's metadata (RFC 8414 section 2).
type metadataBody struct {
	Issuer                      string   `json:"issuer"`
	TokenEndpoint               string   `json:"token_endpoint"`
	TokenAuthMethods            []string `json:"token_endpoint_auth_methods_supported"`
	GrantTypes                  []string `json:"grant_types_supported"`
	ResponseTypes               []string `json:"response_types_supported"`
	IntrospectionEndpoint       string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationEndpoint          string   `json:"revocation_endpoint"`
	RevocationAuthMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	ServiceDocumentation        string   `json:"service_documentation"`
	ServiceDocumentationLocales []string `json:"ui_locales_supported"`
}

// metadata handles GET /.well-known/oauth-authorization-server. Its answer never changes
// while the process runs, so caches may keep it for a while.
func (s *server) metadata(x *answer.Exchange) error {
	issuer := s.cfg.Issuer
	methods := []string{"client_secret_basic", "client_secret_post"}
	return x.PublicJSON(metadataBody{
		Issuer:                      issuer,
		TokenEndpoint:               issuer + "/oauth/token",
		TokenAuthMethods:            methods,
		GrantTypes:                  []string{"client_credentials", "refresh_token"},
		ResponseTypes:               []string{}, // required; there is no authorization endpoint
		IntrospectionEndpoint:       issuer + "/oauth/introspect",
		IntrospectionAuthMethods:    methods,
		RevocationEndpoint:          issuer + "/oauth/revoke",
		RevocationAuthMethods:       methods,
		ServiceDocumentation:        issuer + "/errors",
		ServiceDocumentationLocales: []string{"en", "zh"},
	})
}
