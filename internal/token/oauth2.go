package token

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-oauth2/oauth2/v4"
	"github.com/go-oauth2/oauth2/v4/server"

	"authsvc/internal/app"
)

// GrantType is the grant type of a token request.
type GrantType = oauth2.GrantType

// The supported grant types.
const (
	ClientCredentials = oauth2.ClientCredentials
	RefreshToken      = oauth2.Refreshing
)

// Request is a parsed token request whose app is authenticated.
type Request struct {
	GrantType    GrantType
	Scope        string // "": not given
	ThroughData  string // "": not given
	RefreshToken string // for refresh_token

	// Left is closed when the caller has left, and no longer waits for the answer; nil:
	// that is not known, and it counts as staying.
	Left <-chan struct{}
}

// grants configures go-oauth2's dispatcher. Its handlers stay nil: the Refreshing ones
// would load the token once more, and the scope is decided with the grant.
var grants = server.Config{
	TokenType:         "Bearer",
	AllowedGrantTypes: []GrantType{ClientCredentials, RefreshToken},
}

// Token answers a token request: go-oauth2 checks that the grant type is allowed and
// dispatches it to Issue or Refresh. The result, what is proved about a refresh token, and
// the errors are theirs.
func (m *Manager) Token(ctx context.Context, who app.Authenticated, r Request) (oauth2.TokenInfo, Presented, error) {
	c := &call{manager: m, who: who, request: r}
	s := server.Server{Config: &grants, Manager: c}
	t, err := s.GetAccessToken(ctx, r.GrantType, &oauth2.TokenGenerateRequest{
		ClientID: who.App().Key, Scope: r.Scope, Refresh: r.RefreshToken,
	})
	return t, c.presented, err
}

// call implements oauth2.Manager for one token request. It carries the proof of
// authentication past go-oauth2, whose own client checks are not used.
type call struct {
	manager *Manager
	who     app.Authenticated
	request Request

	presented Presented // the refresh token
}

var _ oauth2.Manager = (*call)(nil)

// GenerateAccessToken implements oauth2.Manager; it handles client_credentials.
func (c *call) GenerateAccessToken(ctx context.Context, _ oauth2.GrantType, t *oauth2.TokenGenerateRequest) (oauth2.TokenInfo, error) {
	return info(c.manager.Issue(ctx, c.who, t.Scope, c.request.ThroughData))
}

// RefreshAccessToken implements oauth2.Manager; it handles refresh_token.
func (c *call) RefreshAccessToken(ctx context.Context, t *oauth2.TokenGenerateRequest) (oauth2.TokenInfo, error) {
	r := c.request
	r.RefreshToken, r.Scope = t.Refresh, t.Scope
	refreshed, p, err := c.manager.refresh(ctx, c.who, r, false)
	c.presented = p
	return info(refreshed, err)
}

// info keeps a nil token from becoming a non-nil interface.
func info[T oauth2.TokenInfo](t T, err error) (oauth2.TokenInfo, error) {
	if err != nil {
		return nil, err
	}
	return t, nil
}

// errUnreachable is returned by the methods of oauth2.Manager that the supported grant
// types never call. An embedded nil interface would panic instead.
var errUnreachable = errors.New("go-oauth2 called a part of its Manager that the allowed grant types do not reach")

// GetClient implements oauth2.Manager; it is never called.
func (c *call) GetClient(context.Context, string) (oauth2.ClientInfo, error) {
	return nil, fmt.Errorf("GetClient: %w", errUnreachable)
}

// GenerateAuthToken implements oauth2.Manager; it is never called.
func (c *call) GenerateAuthToken(context.Context, oauth2.ResponseType, *oauth2.TokenGenerateRequest) (oauth2.TokenInfo, error) {
	return nil, fmt.Errorf("GenerateAuthToken: %w", errUnreachable)
}

// RemoveAccessToken implements oauth2.Manager; it is never called.
func (c *call) RemoveAccessToken(context.Context, string) error {
	return fmt.Errorf("RemoveAccessToken: %w", errUnreachable)
}

// RemoveRefreshToken implements oauth2.Manager; it is never called.
func (c *call) RemoveRefreshToken(context.Context, string) error {
	return fmt.Errorf("RemoveRefreshToken: %w", errUnreachable)
}

// LoadAccessToken implements oauth2.Manager; it is never called.
func (c *call) LoadAccessToken(context.Context, string) (oauth2.TokenInfo, error) {
	return nil, fmt.Errorf("LoadAccessToken: %w", errUnreachable)
}

// LoadRefreshToken implements oauth2.Manager; it is never called.
func (c *call) LoadRefreshToken(context.Context, string) (oauth2.TokenInfo, error) {
	return nil, fmt.Errorf("LoadRefreshToken: %w", errUnreachable)
}
