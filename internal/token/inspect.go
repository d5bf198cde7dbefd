package token

import (
	"context"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// Inspection is what is known of a token that was presented for access.
type Inspection struct {
	// Reason is why the token is not active: APIG.2203, 1002, 1004 or 0502;
	// nil for one that is. The rest is only set for an active token.
	Reason *apierr.Error

	AppKey      string
	Scope       string
	ThroughData string
	IssuedAt    int64 // unix seconds
	ExpiresAt   int64 // unix seconds
	JTI         string
}

// Inspect returns whether an access token is good, and what it stands for. It fails
// only when that is not known: APIG.0613.
func (m *Manager) Inspect(ctx context.Context, accessToken string) (Inspection, error) {
	t, err := parse(ctx, accessToken, Access, m.cfg.Keys)
	if err != nil {
		e := errAccessInvalid()
		e.Cause = err
		return Inspection{Reason: e}, nil
	}
	now, err := m.cfg.Clock.Now()
	if err != nil {
		return Inspection{}, m.unavailable(err)
	}
	if t.Expired(now) {
		return Inspection{Reason: errAccessExpired()}, nil
	}
	c := accessCase{token: t}
	if c.grant, _, err = m.read(ctx, t.Grant); err != nil {
		return Inspection{}, m.unavailable(err)
	}
	if c.grant != nil {
		c.app = m.appOf(ctx, c.grant)
	}
	if reason := decideAccess(c); reason != nil {
		return Inspection{Reason: reason}, nil
	}
	return Inspection{
		AppKey: c.grant.AppKey, Scope: c.grant.Scope, ThroughData: c.grant.ThroughData,
		IssuedAt: t.IssuedAt(), ExpiresAt: t.ExpiresAt, JTI: t.JTI(),
	}, nil
}

// appOf returns the app of a grant, or nil. It looks for a newer list of apps
// where the one in memory must be older than the grant.
func (m *Manager) appOf(ctx context.Context, g *Grant) *app.App {
	a, ok := m.cfg.Apps.Lookup(g.AppKey)
	if !ok || a.Generation < g.Generation {
		m.cfg.Apps.Reload(ctx)
		a, _ = m.cfg.Apps.Lookup(g.AppKey)
	}
	return a
}
