package token

import (
	"context"
	"errors"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// Presented is what is proved of a token that was presented, whatever came of it. Of
// a forged token nothing is.
type Presented struct {
	// JTI names the token; "" unless its signature is good.
	JTI string
	// AppKey is the app that the token was issued to; "" unless its signature is good
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

// Inspection is what is known of a token that was presented. It is valid with an
// error, too.
type Inspection struct {
	Presented

	// Reason is why the token is no good: one of the rows that the method names; nil
	// for a good token. The rest is only set for a good access token, by Inspect.
	Reason *apierr.Error

	Scope       string
	ThroughData string
	IssuedAt    int64 // unix seconds
	ExpiresAt   int64 // unix seconds
}

// Inspect returns whether an access token is good (else the reason is APIG.2203, 1002,
// 1004 or 0502), and what it stands for. It fails only when that is not known:
// APIG.0613.
func (m *Manager) Inspect(ctx context.Context, accessToken string) (Inspection, error) {
	t, err := parse(ctx, accessToken, Access, m.cfg.Keys)
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
	i.IssuedAt, i.ExpiresAt = t.IssuedAt(), t.ExpiresAt
	return i, nil
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
