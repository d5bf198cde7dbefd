package token

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/go-oauth2/oauth2/v4/models"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/keyring"
)

// The defaults of a Config, and the limits of its lifetimes.
const (
	DefaultAccessTTL  = 3600 * time.Second
	DefaultRefreshTTL = 7200 * time.Second
	DefaultGrace      = 60 * time.Second

	MinTTL = app.MinTTL
	MaxTTL = app.MaxTTL
)

// MaxThroughData is the most characters (Unicode code points) of a through_data.
const MaxThroughData = 300

// Apps is what a Manager asks about apps. *app.Registry is one.
type Apps interface {
	Lookup(key string) (*app.App, bool)
	// Reload looks whether there is a newer list of apps. It limits its own rate.
	Reload()
}

// Config is what a Manager is made of. Nothing is optional but OnEvent.
type Config struct {
	Store Store
	Clock *Clock
	Keys  *keyring.Current
	Apps  Apps

	// AccessTTL and RefreshTTL are the lifetimes of tokens whose app has none
	// of its own; whole seconds, MinTTL to MaxTTL.
	AccessTTL, RefreshTTL time.Duration
	// Grace is how long after a refresh its repetition gets the same answer.
	Grace time.Duration

	// OnEvent is told what happened to a grant, after it happened.
	OnEvent func(context.Context, Event)
}

// Event is something that happened to a grant.
type Event struct {
	Kind   EventKind
	AppKey string
	JTI    string // of the token that was presented or, where none was, issued
}

// EventKind is the name of an event.
type EventKind string

// The events. The last two are security events.
const (
	EventIssued          EventKind = "issued"           // a new grant
	EventRefreshed       EventKind = "refreshed"        // a rotation
	EventRefreshRepeated EventKind = "refresh_repeated" // the same pair again, within the grace
	EventRevoked         EventKind = "revoked"          // by its owner
	EventRefreshReplayed EventKind = "refresh_replayed" // an old refresh token came back; its grant was deleted
	EventGrantHealed     EventKind = "grant_healed"     // the store had lost a rotation
)

// Manager issues, refreshes, inspects and revokes tokens. It is safe for
// concurrent use.
//
// Every error it returns for a request is an *apierr.Error, or unforeseen. The
// store out of reach is APIG.0613, and then nothing is known: a refresh may have
// happened, and its repetition within the grace gets the same pair.
type Manager struct{ cfg Config }

// NewManager returns a Manager.
func NewManager(cfg Config) *Manager {
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(context.Context, Event) {}
	}
	return &Manager{cfg: cfg}
}

// Issue makes a new grant for an app and returns its first pair of tokens. scope
// and throughData may be empty, which asks for all of the app's scopes, and for
// none. It fails with APIG.2205 (scope) or 0613.
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
		IssuedAt: now.Unix(), LowestValid: firstSerial,
	}
	g.setPair(firstSerial, key, now, m.ttl(a))
	record := g.encode()
	for attempt := 1; ; attempt++ {
		var id GrantID
		_, _ = rand.Read(id[:]) // never fails (crypto/rand)
		err := m.cfg.Store.Create(ctx, id, record, g.expireAt())
		switch {
		case err == nil:
			m.event(ctx, EventIssued, &g, g.claims(Access, id))
			return m.pair(&g, id, now, key), nil
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

// Refresh answers a refresh token with its successor pair, following the refresh
// table of the design. scope and throughData are empty where they are not given.
// It fails with APIG.2202, 1003, 1001, 2205 (scope, through_data) or 0613.
func (m *Manager) Refresh(ctx context.Context, who app.Authenticated, refreshToken, scope, throughData string) (*models.Token, error) {
	t, err := parse(refreshToken, Refresh, m.cfg.Keys)
	if err != nil {
		e := errRefreshInvalid()
		e.Cause = err
		return nil, e
	}
	if t.AppTag != TagOf(who.App().Key) {
		return nil, errAppMismatch()
	}
	c := refreshCase{
		token: t, app: who.App(), grace: m.cfg.Grace, scope: scope, throughData: throughData,
	}
	for measured := false; ; {
		if c.now, err = m.cfg.Clock.Now(); err != nil {
			return nil, m.unavailableRefresh(err)
		}
		if t.Expired(c.now.Add(-m.cfg.Grace)) {
			return nil, errRefreshExpired()
		}
		var record []byte
		if c.grant, record, err = m.read(ctx, t.Grant); err != nil {
			return nil, m.unavailableRefresh(err)
		}
		c.key, c.ttl = m.cfg.Keys.Signer(c.now), m.ttl(c.app)

		switch d := decideRefresh(c); d.do {
		case staleApp:
			m.cfg.Apps.Reload()
			a, ok := m.cfg.Apps.Lookup(c.app.Key)
			if !ok {
				return nil, errRefreshGone()
			}
			c.app, c.appReloaded = a, true

		case rotate:
			err := m.swap(ctx, t.Grant, record, &d.next)
			switch {
			case errors.Is(err, ErrConflict):
				c.lostSwap = true // another caller was faster; look again
				continue
			case errors.Is(err, ErrLate) && !measured:
				if err := m.cfg.Clock.Measure(ctx, m.cfg.Store); err != nil {
					return nil, m.unavailableRefresh(err)
				}
				c.lostSwap, measured = true, true // the store's clock has stepped; look again
				continue
			case err != nil:
				return nil, m.unavailableRefresh(err)
			}
			if d.heal {
				m.event(ctx, EventGrantHealed, c.grant, t)
			}
			m.event(ctx, EventRefreshed, &d.next, t)
			return m.pair(&d.next, t.Grant, c.now, c.key), nil

		case repeat:
			key := m.cfg.Keys.Key(c.grant.KeyID)
			if key == nil {
				if _, dropped := m.cfg.Keys.Ring().DroppedAt(c.grant.KeyID); dropped {
					return nil, errRefreshWithdrawn()
				}
				return nil, m.unavailableRefresh(fmt.Errorf("%w: key %d signed the current pair and is not in the keyring",
					ErrUnavailable, c.grant.KeyID))
			}
			m.event(ctx, EventRefreshRepeated, c.grant, t)
			return m.pair(c.grant, t.Grant, c.now, key), nil

		case kill:
			if err := m.cfg.Store.Delete(ctx, t.Grant); err != nil {
				return nil, m.unavailableRefresh(err)
			}
			m.event(ctx, EventRefreshReplayed, c.grant, t)
			return nil, d.err

		default:
			return nil, d.err
		}
	}
}

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

// Inspect tells whether an access token is good, and what it stands for. It
// fails only when that can't be told: APIG.0613.
func (m *Manager) Inspect(ctx context.Context, accessToken string) (Inspection, error) {
	t, err := parse(accessToken, Access, m.cfg.Keys)
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
		c.app = m.appOf(c.grant)
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
func (m *Manager) appOf(g *Grant) *app.App {
	a, ok := m.cfg.Apps.Lookup(g.AppKey)
	if !ok || a.Generation < g.Generation {
		m.cfg.Apps.Reload()
		a, _ = m.cfg.Apps.Lookup(g.AppKey)
	}
	return a
}

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
	t, err := parse(presented, kind, m.cfg.Keys)
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

// read returns a grant and its record; both are nil where there is none.
func (m *Manager) read(ctx context.Context, id GrantID) (*Grant, []byte, error) {
	record, err := m.cfg.Store.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	g, err := decodeGrant(record)
	if err != nil {
		return nil, nil, err
	}
	return &g, record, nil
}

// swap puts next in the place of the grant whose record is was. It takes effect
// before ctx ends, or never.
func (m *Manager) swap(ctx context.Context, id GrantID, was []byte, next *Grant) error {
	now, err := m.cfg.Clock.Now() // again: reading the grant took its time
	if err != nil {
		return err
	}
	notAfter := now.Add(swapPatience)
	if end, ok := ctx.Deadline(); ok {
		notAfter = now.Add(time.Until(end))
	}
	return m.cfg.Store.Swap(ctx, id, was, next.encode(), next.expireAt(), notAfter)
}

// swapPatience bounds a swap whose context has no deadline.
const swapPatience = time.Second

// pair is the answer that hands out the current pair of a grant.
func (m *Manager) pair(g *Grant, id GrantID, now time.Time, key *keyring.Key) *models.Token {
	access, refresh := g.claims(Access, id), g.claims(Refresh, id)
	remains := func(expires int64) time.Duration { return time.Duration(max(0, expires-now.Unix())) * time.Second }
	return &models.Token{
		ClientID:         g.AppKey,
		Scope:            g.Scope,
		Access:           mint(&access, key),
		AccessCreateAt:   time.Unix(g.pairIssuedAt(), 0),
		AccessExpiresIn:  remains(g.AccessExpires),
		Refresh:          mint(&refresh, key),
		RefreshCreateAt:  time.Unix(g.pairIssuedAt(), 0),
		RefreshExpiresIn: remains(g.RefreshExpires),
	}
}

func (m *Manager) ttl(a *app.App) lifetimes {
	t := lifetimes{access: m.cfg.AccessTTL, refresh: m.cfg.RefreshTTL}
	if a.AccessTTL != 0 {
		t.access = a.AccessTTL
	}
	if a.RefreshTTL != 0 {
		t.refresh = a.RefreshTTL
	}
	return t
}

func (m *Manager) event(ctx context.Context, kind EventKind, g *Grant, t Claims) {
	m.cfg.OnEvent(ctx, Event{Kind: kind, AppKey: g.AppKey, JTI: t.JTI()})
}

// unavailable is the answer to a store that could not be asked, or whose answer
// could not be read: never a guess.
func (m *Manager) unavailable(cause error) error {
	var unreadable recordError
	if !errors.Is(cause, ErrUnavailable) && !errors.Is(cause, ErrLate) && !errors.As(cause, &unreadable) {
		return cause // unforeseen: a Store that breaks its contract
	}
	e := apierr.Wrap(apierr.Unavailable,
		"The token store is out of reach. Nothing is wrong with your request: send it again, unchanged, after the time in Retry-After.", cause)
	e.RetryAfter = time.Duration(1+mathrand.N(maxRetryAfter)) * time.Second // spread, so that the callers do not come back as one
	return e
}

// maxRetryAfter is the longest that a caller is asked to wait for the store, in
// seconds.
const maxRetryAfter = 5

// unavailableRefresh is unavailable for a refresh that may have happened: its
// retry must come within the grace, so the wait is at most half of it.
func (m *Manager) unavailableRefresh(cause error) error {
	err := m.unavailable(cause)
	if e := (*apierr.Error)(nil); errors.As(err, &e) {
		e.RetryAfter = min(e.RetryAfter, (m.cfg.Grace / 2).Truncate(time.Second))
	}
	return err
}

// createAttempts is how often Issue tries to keep a grant: a lost connection
// costs one attempt, and the second or third finds a new one.
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
