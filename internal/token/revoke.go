package token

import (
	"context"
	"errors"
	"strings"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// Revoke ends a token of the app: a refresh token, expired or not, with its
// whole grant; an access token with those issued before it under the same grant.
// A token that is unknown, or already dead, is no error (RFC 7009 section 2.2).
// It fails with APIG.1003 (another app's refresh token), 2203 (its access token)
// or 0613.
func (m *Manager) Revoke(ctx context.Context, who app.Authenticated, presented string) error {
	kind, foreign := Access, apierr.New(apierr.AccessTokenInvalid,
		"The access token was issued to another app. Only its owner can revoke it; nothing was revoked.")
	if strings.HasPrefix(presented, string(Refresh)) {
		kind, foreign = Refresh, errAppMismatch()
	}
	t, err := parse(ctx, presented, kind, m.cfg.Keys)
	if err != nil {
		return nil // not ours, so there is nothing to revoke
	}
	if t.AppTag != TagOf(who.App().Key) {
		return foreign
	}
	for measured := false; ; {
		now, err := m.cfg.Clock.Now()
		if err != nil {
			return m.unavailable(err)
		}
		if kind == Access && t.Expired(now) {
			return nil
		}
		g, record, err := m.read(ctx, t.Grant)
		switch {
		case err != nil:
			return m.unavailable(err)
		case g == nil:
			return nil
		case g.AppKey != who.App().Key:
			return foreign
		case t.Serial <= g.Serial && t.ExpiresAt > g.KeepUntil: // forged
			return nil
		case kind == Access && t.Serial < g.LowestValid:
			return nil
		}
		if kind == Refresh {
			err = m.cfg.Store.Delete(ctx, t.Grant)
		} else {
			next := *g
			next.LowestValid = t.Serial + 1
			err = m.swap(ctx, t.Grant, record, &next)
		}
		switch {
		case errors.Is(err, ErrConflict):
			continue
		case errors.Is(err, ErrLate) && !measured:
			if err := m.cfg.Clock.Measure(ctx, m.cfg.Store); err != nil {
				return m.unavailable(err)
			}
			measured = true
			continue
		case err != nil:
			return m.unavailable(err)
		}
		m.event(ctx, EventRevoked, g, t)
		return nil
	}
}
