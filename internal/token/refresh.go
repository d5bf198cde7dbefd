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
	return m.refresh(ctx, who, Request{RefreshToken: refreshToken, Scope: scope, ThroughData: throughData}, false)
}

// refresh is Refresh. callerStayed is set once the caller of a replay has been waited for.
func (m *Manager) refresh(ctx context.Context, who app.Authenticated, r Request, callerStayed bool) (*models.Token, Presented, error) {
	t, err := m.parse(ctx, r.RefreshToken, Refresh)
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
		token: t, app: who.App(), grace: m.cfg.Grace, scope: r.Scope, throughData: r.ThroughData,
	}
	var shown time.Time // see acknowledge
	defer func() { m.acknowledge(shown) }()
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
		// The grant has ended, or the access token that came with this token has.
		ended := c.grant == nil || t.Serial < c.grant.LowestValid
		shown = time.Time{}
		if ended {
			shown = m.cfg.Clock.process()
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
			shown = time.Time{} // what it answers with is good
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
			if c.grant.narrowedBy(&d.next) || d.outcome == renewal && ended {
				shown = m.cfg.Clock.process()
			}
			switch d.outcome {
			case renewal:
				m.event(ctx, c.repeatKind(), p)
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
			m.event(ctx, c.repeatKind(), p)
			return answer, p, nil

		case replay:
			shown = time.Time{}
			if !callerStayed {
				return m.replayed(ctx, who, r, p)
			}
			if spared := m.spares(r.Left); spared != "" {
				return m.spared(ctx, p, spared)
			}
			err := m.cfg.Store.Delete(ctx, t.Grant, record)
			if errors.Is(err, ErrConflict) {
				continue // it has changed; read the grant again
			}
			if err != nil {
				return nil, p, m.unavailableRefresh(err)
			}
			shown = m.cfg.Clock.process()
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

// replayed handles a refresh that was found to be a replay. If its caller stays, it is
// decided again, and ends the grant if it is still a replay.
//
// A process, or the network before it, can stand still with a request. Its caller gives up,
// refreshes elsewhere and holds newer tokens by the time the old request is decided. Such a
// caller has closed its connection or its stream; net/http notices within the wait.
func (m *Manager) replayed(ctx context.Context, who app.Authenticated, r Request, p Presented) (*models.Token, Presented, error) {
	if spared := m.awaitLeaving(r.Left); spared != "" {
		return m.spared(ctx, p, spared)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.StoreTimeout)
	defer cancel()
	return m.refresh(ctx, who, r, true)
}

// spared answers a replay that does not end its grant.
func (m *Manager) spared(ctx context.Context, p Presented, why EventKind) (*models.Token, Presented, error) {
	m.event(ctx, why, p)
	return nil, p, errRefreshSpared()
}

// killWait is how long the caller of a replay has to stay, and maxKillWaits how many are
// waited for at a time.
const (
	killWait     = 500 * time.Millisecond
	maxKillWaits = 1000
)

// awaitLeaving waits for the caller of a replay to leave. It returns "" if it has stayed,
// and else the event of a replay that does not end its grant.
func (m *Manager) awaitLeaving(left <-chan struct{}) EventKind {
	select {
	case m.killWaits <- struct{}{}:
		defer func() { <-m.killWaits }()
	default:
		return EventReplaySpared
	}
	for range 2 {
		began := m.cfg.Clock.process()
		select {
		case <-left:
		case <-m.cfg.Draining:
		case <-m.cfg.Clock.after(killWait):
		}
		if m.cfg.Clock.process().Sub(began) < 2*killWait {
			break
		}
		// The process stood still in the wait, so net/http has had no time to notice.
	}
	return m.spares(left)
}

// spares is like awaitLeaving, of this moment.
func (m *Manager) spares(left <-chan struct{}) EventKind {
	select {
	case <-left:
		return EventCallerLeft
	default:
	}
	select {
	case <-m.cfg.Draining:
		return EventReplaySpared
	default:
		return ""
	}
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
