package token

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
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

// MaxThroughData is the maximum length of a through_data, in characters (Unicode code
// points).
const MaxThroughData = 300

// Apps is what a Manager needs to know about apps. *app.Registry implements it.
type Apps interface {
	Lookup(key string) (*app.App, bool)
	// Reload checks for a newer list of apps. It limits its own rate.
	Reload(ctx context.Context)
}

// Config configures a Manager. Only Outages and OnEvent are optional.
type Config struct {
	Store Store
	Clock *Clock
	Keys  *keyring.Current
	Apps  Apps

	// AccessTTL and RefreshTTL are the lifetimes of tokens whose app has none of its
	// own; whole seconds, MinTTL to MaxTTL.
	AccessTTL, RefreshTTL time.Duration
	// Grace is how long a repeated refresh gets the same answer, not counting the Outages
	// of the store.
	Grace time.Duration
	// Outages returns those of the part of the store that has a grant; nil: there are none.
	// It must be fast.
	Outages func(GrantID) Outages

	// StoreTimeout bounds what a replay asks of the store after the wait for its caller,
	// when the time of the request's own context is over; 0: a second.
	StoreTimeout time.Duration
	// Draining is closed when the process begins to stop; nil: never.
	Draining <-chan struct{}

	// OnEvent is called after something has happened to a grant.
	OnEvent func(context.Context, Event)
}

// Event is something that happened to a grant.
type Event struct {
	Kind   EventKind
	AppKey string
	JTI    string // of the token that was presented, or else of the one issued
}

// EventKind is the name of an event.
type EventKind string

// The events. EventRefreshReplayed and EventGrantHealed are security events.
const (
	EventIssued          EventKind = "issued"           // a new grant
	EventRefreshed       EventKind = "refreshed"        // a rotation
	EventRefreshRepeated EventKind = "refresh_repeated" // the same pair again, during the grace
	EventRefreshExcused  EventKind = "refresh_excused"  // the same, later, because the store was or may have been unavailable
	EventRevoked         EventKind = "revoked"          // by its owner
	EventRefreshReplayed EventKind = "refresh_replayed" // an old refresh token came back; its grant was deleted
	EventGrantHealed     EventKind = "grant_healed"     // the store had lost a rotation
	EventCallerLeft      EventKind = "caller_left"      // an old refresh token came back, but its caller had left; nothing was deleted
	EventReplaySpared    EventKind = "replay_spared"    // the same, with too many replays at once, or while the process stops
)

// Manager issues, refreshes, inspects and revokes tokens. It is safe for
// concurrent use.
//
// Every error that it returns for a request is an *apierr.Error, or unexpected. APIG.0613
// means that the store is unavailable and nothing is known: a refresh may have happened,
// and repeating it during the grace returns the same pair.
type Manager struct {
	cfg Config

	killWaits chan struct{} // holds one for each replay that waits
}

// NewManager returns a Manager.
func NewManager(cfg Config) *Manager {
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(context.Context, Event) {}
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = swapPatience
	}
	return &Manager{cfg: cfg, killWaits: make(chan struct{}, maxKillWaits)}
}

// acknowledgeAfter is how long after it was shown that something has ended or was
// narrowed it is answered. Whoever checks a token may use a record for 250 ms from before
// its read was sent. A read that still got the old record was sent before the store took
// the change, which was before the call that showed the change returned. So no check that
// begins after the answer uses the old record, and 50 ms are left for clocks that go
// differently.
const acknowledgeAfter = 300 * time.Millisecond

// acknowledge returns once what this process has seen may be answered. shown is when the
// call of the store that showed it returned, by the process clock; zero: nothing has ended.
// It waits whatever becomes of the caller, for its answer may be on its way already through
// somebody else, and also while the process drains.
func (m *Manager) acknowledge(shown time.Time) {
	if !shown.IsZero() {
		<-m.cfg.Clock.after(acknowledgeAfter - m.cfg.Clock.process().Sub(shown))
	}
}

// parse decodes a token of one kind and verifies it, without the store.
func (m *Manager) parse(ctx context.Context, s string, want Kind) (Claims, error) {
	c, err := parse(ctx, s, want, m.cfg.Keys)
	if err == nil && c.Lifetime() > int64(MaxTTL/time.Second) {
		return Claims{}, errForged // with a leaked key: no process gives out such a token
	}
	return c, err
}

// read returns a grant and its record, or nil for both if there is none.
func (m *Manager) read(ctx context.Context, id GrantID) (*Grant, []byte, error) {
	record, err := m.cfg.Store.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	g, err := decodeGrant(id, record)
	if err != nil {
		return nil, nil, err
	}
	return &g, record, nil
}

// swap replaces the grant whose record is was by next. It takes effect before ctx ends, or
// never.
func (m *Manager) swap(ctx context.Context, id GrantID, was []byte, next *Grant) error {
	now, err := m.cfg.Clock.Now() // again: reading the grant took its time
	if err != nil {
		return err
	}
	record, err := next.encode(id)
	if err != nil {
		return err
	}
	notAfter := now.Add(swapPatience)
	if end, ok := ctx.Deadline(); ok {
		notAfter = now.Add(time.Until(end))
	}
	return m.cfg.Store.Swap(ctx, id, was, record, next.expireAt(), notAfter)
}

// swapPatience bounds a swap whose context has no deadline.
const swapPatience = time.Second

// pair returns the answer with the current pair of a grant. It comes before the grant is
// written, so that nothing is that can't be answered.
func (m *Manager) pair(g *Grant, id GrantID, now time.Time, key *keyring.Key) (*models.Token, error) {
	access, refresh := g.claims(id)
	at, err := mint(&access, key)
	if err != nil {
		return nil, err
	}
	rt, err := mint(&refresh, key)
	if err != nil {
		return nil, err
	}
	issued := time.Unix(g.Rotated/1000, 0)
	remains := func(expires int64) time.Duration { return time.Duration(max(0, expires-now.Unix())) * time.Second }
	return &models.Token{
		ClientID:         g.AppKey,
		Scope:            g.Scope,
		Access:           at,
		AccessCreateAt:   issued,
		AccessExpiresIn:  remains(g.AccessExpires),
		Refresh:          rt,
		RefreshCreateAt:  issued,
		RefreshExpiresIn: remains(g.RefreshExpires),
	}, nil
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

func (m *Manager) event(ctx context.Context, kind EventKind, p Presented) {
	m.cfg.OnEvent(ctx, Event{Kind: kind, AppKey: p.AppKey, JTI: p.JTI})
}

// unavailable returns the answer if the store is unavailable, or holds a record that can't
// be read: never a guess.
func (m *Manager) unavailable(cause error) error {
	var unreadable recordError
	if !errors.Is(cause, ErrUnavailable) && !errors.Is(cause, ErrLate) && !errors.As(cause, &unreadable) {
		return cause // unexpected: the Store breaks its contract
	}
	e := apierr.Wrap(apierr.Unavailable,
		"The token store is unavailable. Nothing is wrong with your request: send it again, unchanged, after the time in Retry-After.", cause)
	e.RetryAfter = time.Duration(1+mathrand.N(maxRetryAfter)) * time.Second // random, so that callers do not all retry at once
	return e
}

// maxRetryAfter is the longest Retry-After while the store is unavailable, in seconds.
const maxRetryAfter = 5
