package token

import (
	"context"
	"errors"
	"strings"
	"time"

	"authsvc/internal/app"
)

// Revoke revokes a token of the app: a refresh token, expired or not, with its whole
// grant; an access token with those issued before it under the same grant. A token that
// is unknown or no longer valid is not an error (RFC 7009 section 2.2): the inspection
// then has the reason why there was nothing to revoke, APIG.2203, 1002 or 2202. The errors
// are APIG.1003 (another app's refresh token), 2203 (another app's access token) and 0613.
//
// That a token of the app is revoked, now or before, is acknowledged only when no process
// takes it for valid any more (see acknowledge).
func (m *Manager) Revoke(ctx context.Context, who app.Authenticated, text string) (i Inspection, err error) {
	kind, foreign := Access, errAccessMismatch
	invalid, forged, gone := errAccessInvalid, errAccessForged, errAccessRevoked
	if strings.HasPrefix(text, string(Refresh)) {
		kind, foreign = Refresh, errAppMismatch
		invalid, forged, gone = errRefreshInvalid, errRefreshForged, errRefreshGone
	}
	t, err := m.parse(ctx, text, kind)
	i = Inspection{Presented: presented(t, err)}
	if err != nil {
		i.Reason = invalid()
		return i, nil // not ours, so there is nothing to revoke
	}
	if t.AppTag != TagOf(who.App().Key) {
		return i, foreign()
	}
	var shown time.Time // see acknowledge
	defer func() {
		if err == nil {
			m.acknowledge(shown)
		}
	}()
	for measured := false; ; {
		now, err := m.cfg.Clock.Now()
		if err != nil {
			return i, m.unavailable(err)
		}
		shown = m.cfg.Clock.process()
		if kind == Access && t.Expired(now) {
			i.Reason = errAccessExpired()
			return i, nil
		}
		g, record, err := m.read(ctx, t.Grant)
		shown = m.cfg.Clock.process()
		switch {
		case err != nil:
			return i, m.unavailable(err)
		case g == nil:
			i.Reason = gone()
			return i, nil
		case g.AppKey != who.App().Key:
			i.AppKey = g.provenApp(&t)
			return i, foreign()
		case t.forged(g):
			i.Reason = forged()
			return i, nil
		}
		i.AppKey = g.AppKey
		if kind == Access && t.Serial < g.LowestValid {
			i.Reason = errAccessRevoked()
			return i, nil
		}
		if kind == Refresh {
			err = m.cfg.Store.Delete(ctx, t.Grant, record)
		} else {
			next := *g
			next.LowestValid = max(g.LowestValid, t.Serial+1) // which is 0 after the last serial there is
			err = m.swap(ctx, t.Grant, record, &next)
		}
		switch {
		case errors.Is(err, ErrConflict):
			continue
		case errors.Is(err, ErrLate) && !measured:
			if err := m.cfg.Clock.Measure(ctx, m.cfg.Store); err != nil {
				return i, m.unavailable(err)
			}
			measured = true
			continue
		case err != nil:
			return i, m.unavailable(err)
		}
		shown = m.cfg.Clock.process()
		m.event(ctx, EventRevoked, i.Presented)
		return i, nil
	}
}
