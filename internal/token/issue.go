package token

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/go-oauth2/oauth2/v4/models"

	"authsvc/internal/app"
)

// Issue creates a grant for an app and returns its first pair of tokens. An empty scope
// means all of the app's scopes; throughData may be empty. Its errors are APIG.2205
// (scope) and 0613.
func (m *Manager) Issue(ctx context.Context, who app.Authenticated, scope, throughData string) (*models.Token, error) {
	a := who.App()
	granted, err := narrow(a.Scopes, scope, "the app")
	if err != nil {
		return nil, err
	}
	now, err := m.cfg.Clock.Now()
	if err != nil {
		return nil, m.unavailable(err)
	}
	key := m.cfg.Keys.Signer(now)
	g := Grant{
		AppKey: a.Key, Generation: a.Generation, Scope: granted, ThroughData: throughData,
		IssuedAt: now.UnixMilli(), Rotated1: now.UnixMilli(), LowestValid: firstSerial,
	}
	g.setPair(firstSerial, key, now, m.ttl(a))
	for attempt := 1; ; attempt++ {
		var id GrantID
		_, _ = rand.Read(id[:]) // never fails (crypto/rand)
		answer, err := m.pair(&g, id, now, key)
		if err != nil {
			return nil, err
		}
		record, err := g.encode(id)
		if err != nil {
			return nil, err
		}
		err = m.cfg.Store.Create(ctx, id, record, g.expireAt())
		switch {
		case err == nil:
			first, _ := g.claims(id)
			m.event(ctx, EventIssued, Presented{JTI: first.JTI(), AppKey: g.AppKey})
			return answer, nil
		case attempt < createAttempts && (errors.Is(err, ErrExists) || errors.Is(err, ErrUnavailable)):
			// Under a fresh id: see Store.Create.
			if err := pause(ctx); err != nil {
				return nil, m.unavailable(err)
			}
		default:
			return nil, m.unavailable(err)
		}
	}
}

// createAttempts is how often Issue tries to store a grant: a lost connection costs one
// attempt, and the second or third finds a new one.
const createAttempts = 3

// pause waits a few milliseconds before an attempt is repeated.
func pause(ctx context.Context) error {
	t := time.NewTimer(5*time.Millisecond + mathrand.N(10*time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case <-t.C:
		return nil
	}
}
