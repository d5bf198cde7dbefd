package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-oauth2/oauth2/v4/models"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/keyring"
)

// Refresh exchanges a refresh token for its successor pair, following the refresh table of
// the design. scope and throughData are empty if not given. What is proved about the token
// is valid even if there is an error. The errors are APIG.2202, 1003, 1001, 2205 (scope,
// through_data) and 0613.
func (m *Manager) Refresh(ctx context.Context, who app.Authenticated, refreshToken, scope, throughData string) (*models.Token, Presented, error) {
	t, err := m.parse(ctx, refreshToken, Refresh)
	p := presented(t, err)
	if err != nil {
		e := errRefreshInvalid() // rule 12 of the precedence in package httpapi
		e.Cause = err
		return nil, p, e
	}
	if t.AppTag != TagOf(who.App().Key) {
		return nil, p, errAppMismatch() // rule 13
	}
	c := refreshCase{
		token: t, app: who.App(), grace: m.cfg.Grace, scope: scope, throughData: throughData,
	}
	for measured := false; ; {
		if c.now, err = m.cfg.Clock.Now(); err != nil {
			return nil, p, m.unavailableRefresh(err)
		}
		if m.cfg.Outages != nil {
			c.outages = m.cfg.Outages(t.Grant)
		}
		if t.Expired(c.now) && !c.inGrace(t.ExpiresAt*1000) {
			return nil, p, errRefreshExpired() // rule 14, without the store
		}
		var record []byte
		if c.grant, record, err = m.read(ctx, t.Grant); err != nil {
			return nil, p, m.unavailableRefresh(err)
		}
		c.key, c.ttl = m.cfg.Keys.Signer(c.now), m.ttl(c.app)

		d := decideRefresh(c) // rules 13 to 16
		switch d.outcome {
		case refusal, staleApp:
			p.AppKey = c.grant.provenApp(&t)
		default:
			p.AppKey = c.grant.AppKey // the decision proves it
		}

		switch d.outcome {
		case staleApp:
			m.cfg.Apps.Reload(ctx)
			a, ok := m.cfg.Apps.Lookup(c.app.Key)
			if !ok {
				return nil, p, errRefreshGone()
			}
			c.app, c.appReloaded = a, true

		case rotation, healing, renewal:
			key := c.key
			if d.outcome == renewal {
				if key, err = m.pairKey(ctx, c.grant); err != nil {
					return nil, p, err
				}
			}
			answer, err := m.pair(&d.next, t.Grant, c.now, key)
			if err != nil {
				return nil, p, err
			}
			err = m.swap(ctx, t.Grant, record, &d.next)
			switch {
			case errors.Is(err, ErrConflict):
				c.lostSwap = true // another caller was faster; read the grant again
				continue
			case errors.Is(err, ErrLate) && !measured:
				if err := m.cfg.Clock.Measure(ctx, m.cfg.Store); err != nil {
					return nil, p, m.unavailableRefresh(err)
				}
				c.lostSwap, measured = true, true // the store's clock has stepped; read the grant again
				continue
			case err != nil:
				return nil, p, m.unavailableRefresh(err)
			}
			switch d.outcome {
			case renewal:
				m.event(ctx, EventRefreshRepeated, p)
				return answer, p, nil
			case healing:
				m.event(ctx, EventGrantHealed, p)
			}
			m.event(ctx, EventRefreshed, p)
			return answer, p, nil

		case repeat:
			key, err := m.pairKey(ctx, c.grant)
			if err != nil {
				return nil, p, err
			}
			answer, err := m.pair(c.grant, t.Grant, c.now, key)
			if err != nil {
				return nil, p, err
			}
			m.event(ctx, EventRefreshRepeated, p)
			return answer, p, nil

		case replay:
			err := m.cfg.Store.Delete(ctx, t.Grant, record)
			if errors.Is(err, ErrConflict) {
				continue // it has changed; read the grant again
			}
			if err != nil {
				return nil, p, m.unavailableRefresh(err)
			}
			m.event(ctx, EventRefreshReplayed, p)
			return nil, p, d.err

		default: // a refusal
			return nil, p, d.err
		}
	}
}

// pairKey returns the key that signed the current pair of a grant.
func (m *Manager) pairKey(ctx context.Context, g *Grant) (*keyring.Key, error) {
	if key := m.cfg.Keys.Key(ctx, g.KeyID); key != nil {
		return key, nil
	}
	if _, dropped := m.cfg.Keys.Ring().DroppedAt(g.KeyID); dropped {
		return nil, errRefreshWithdrawn()
	}
	return nil, m.unavailableRefresh(fmt.Errorf("%w: key %d signed the current pair and is not in the keyring", ErrUnavailable, g.KeyID))
}

// unavailableRefresh is like unavailable, for a refresh that may have happened: the retry
// must come before the grace is over, so the wait is at most half of it.
func (m *Manager) unavailableRefresh(cause error) error {
	err := m.unavailable(cause)
	if e := (*apierr.Error)(nil); errors.As(err, &e) {
		e.RetryAfter = min(e.RetryAfter, (m.cfg.Grace / 2).Truncate(time.Second))
	}
	return err
}
