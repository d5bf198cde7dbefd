package token

import (
	"context"
	"errors"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// Presented holds what is proved about a token that was presented, whether or not it was
// accepted. Nothing is proved about a forged token.
type Presented struct {
	// JTI identifies the token; "" unless its signature is valid.
	JTI string
	// AppKey is the app that the token was issued to; "" unless its signature is valid
	// and its grant was read.
	AppKey string
}

// presented returns what the result of parse proves.
func presented(t Claims, err error) Presented {
	if err == nil {
		return Presented{JTI: t.JTI()}
	}
	if other := (otherKind{}); errors.As(err, &other) {
		return Presented{JTI: other.claims.JTI()}
	}
	return Presented{}
}

// Inspection holds what is known about a token that was presented. It is valid even if
// there is an error.
type Inspection struct {
	Presented

	// Reason is why the token is not valid, one of the rows that the method names; nil
	// for a valid token. The rest is only set by Inspect, for a valid access token.
	Reason *apierr.Error

	Scope       string
	ThroughData string
	IssuedAt    int64 // unix seconds
	ExpiresAt   int64 // unix seconds
}

// Inspect returns whether an access token is valid (else the reason is APIG.2203, 1002,
// 1004 or 0502), and what it grants. It returns an error, APIG.0613, only if that is not
// known.
func (m *Manager) Inspect(ctx context.Context, accessToken string) (Inspection, error) {
	t, err := m.parse(ctx, accessToken, Access)
	i := Inspection{Presented: presented(t, err)}
	if err != nil {
		i.Reason = errAccessInvalid()
		i.Reason.Cause = err
		return i, nil
	}
	now, err := m.cfg.Clock.Now()
	if err != nil {
		return i, m.unavailable(err)
	}
	if t.Expired(now) {
		i.Reason = errAccessExpired()
		return i, nil
	}
	c := accessCase{token: t}
	if c.grant, _, err = m.read(ctx, t.Grant); err != nil {
		return i, m.unavailable(err)
	}
	if c.grant != nil {
		c.app = m.appOf(ctx, c.grant)
	}
	if i.Reason = decideAccess(c); i.Reason != nil {
		i.AppKey = c.grant.provenApp(&t)
		return i, nil
	}
	i.AppKey, i.Scope, i.ThroughData = c.grant.AppKey, c.grant.Scope, c.grant.ThroughData
	i.IssuedAt, i.ExpiresAt = t.IssuedAt/1000, t.ExpiresAt
	return i, nil
}

// appOf returns the app of a grant, or nil. If the list of apps in memory must be older
// than the grant, appOf reloads it.
func (m *Manager) appOf(ctx context.Context, g *Grant) *app.App {
	a, ok := m.cfg.Apps.Lookup(g.AppKey)
	if !ok || a.Generation < g.Generation {
		m.cfg.Apps.Reload(ctx)
		a, _ = m.cfg.Apps.Lookup(g.AppKey)
	}
	return a
}
