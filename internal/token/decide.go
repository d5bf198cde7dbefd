package token

import (
	"errors"
	"time"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/keyring"
)

type lifetimes struct{ access, refresh time.Duration }

// refreshCase holds everything that the decision on a refresh depends on.
type refreshCase struct {
	token Claims
	app   *app.App
	grant *Grant // nil: the store has none
	now   time.Time
	grace time.Duration
	// outages are those of the part of the store that has the grant; they make the grace longer.
	outages Outages

	scope       string // "": not given
	throughData string // "": not given

	// lostSwap is set once this request has lost a swap: when it read the grant then, its
	// token was good, so this is not a replay.
	lostSwap bool

	// appReloaded is set once the app has been reloaded for this request; a grant of a
	// newer generation is then valid.
	appReloaded bool

	key *keyring.Key // signs the next pair
	ttl lifetimes
}

// outcome is what a refresh turns out to be. It is known before anything is written, so
// that what depends on it can be done first (a limit counts rotations, never refuses a
// repeat, and does not prevent a replay from ending the grant).
type outcome int

const (
	refusal  outcome = iota // the answer is err; nothing is written
	staleApp                // undecided: the app in memory is older than the grant, and is reloaded
	rotation                // of the current token: next replaces the grant, and the answer is its pair
	healing                 // the same, for a token from a rotation that the store lost
	repeat                  // of a rotation that was answered: the answer is its pair again; nothing is written
	renewal                 // a repeat whose access token has expired: next has another one in the same pair, and is the answer
	replay                  // of a token that is too old for a repeat: the grant is deleted; the answer is err
)

// decision is the decision on a refresh.
type decision struct {
	outcome outcome
	next    Grant // of a rotation, a healing or a renewal: the grant to be
	err     error // of a refusal or a replay: the answer
}

func refused(err error) decision { return decision{outcome: refusal, err: err} }

// decideRefresh applies the refresh table, which docs/explanation.md explains; the first case
// that fits decides. It is a pure function. The token has been parsed; its app tag and expiry have
// been checked only to save calls to the store.
func decideRefresh(c refreshCase) decision {
	d := decideLiveRefresh(c)
	switch {
	case !c.token.Expired(c.now), d.outcome == repeat, d.outcome == renewal, d.outcome == staleApp, isMismatch(d):
		return d
	}
	// An expired token is expired, whatever else is true of it, and changes nothing. Only a
	// repeat of the refresh it was used for is still answered: a lost reply must not cost a
	// login.
	return refused(errRefreshExpired())
}

func decideLiveRefresh(c refreshCase) decision {
	g, n := c.grant, c.token.Serial
	switch {
	case g == nil: // there is no grant
		return refused(errRefreshGone())
	case g.AppKey != c.app.Key: // it is another app's grant
		return refused(errAppMismatch())
	case g.Generation < c.app.Generation: // the app's generation has been raised since
		return refused(errRefreshRevoked())
	case g.Generation > c.app.Generation && !c.appReloaded: // the grant has the newer generation
		return decision{outcome: staleApp}
	case c.token.forged(g): // no grant like this can have issued it
		return refused(errRefreshForged())
	case n > g.Serial, n == g.Serial && c.token.GrantHash != g.hash(): // n > s, or n = s with another scope or through_data
		return c.healed()
	case c.token.lost(g): // it is of a line that was lost
		return refused(errRefreshLost())
	case n == g.Serial: // n = s
		return c.rotated()
	case n == g.From && c.inGrace(g.Rotated): // n = from, within the grace
		return c.repeated()
	case n == g.From && c.mayBeInGrace(g.Rotated): // n = from, perhaps within the grace
		return refused(errRefreshUnsure())
	case n == g.From1 && c.mayBeInGrace(g.Rotated1), c.lostSwap: // n = from1, within its grace, or a swap was lost
		return refused(errRefreshSuperseded())
	default: // n < s otherwise
		return decision{outcome: replay, err: errRefreshReplayed()}
	}
}

// rotated returns the decision that goes on from the token.
func (c *refreshCase) rotated() decision {
	g, n := *c.grant, c.token.Serial
	may := common(g.Scope, c.app.Scopes)
	if g.Scope != "" && len(may) == 0 {
		return refused(scopeError("The app no longer has any of the scopes of this refresh token. Get a new token with client_credentials."))
	}
	scope, err := narrow(may, c.scope, "this refresh token")
	if err != nil {
		return refused(err)
	}
	now := c.now
	if granted := time.UnixMilli(g.IssuedAt); now.Before(granted) {
		// The store's clock stepped back, in a failover to a server that is behind.
		// Nothing may be issued before its grant: the record can't hold an expiry
		// before issued-at.
		now = granted
	}
	g.From1, g.From, g.Rotated1 = g.From, n, c.token.IssuedAt
	g.KeepUntil = max(g.KeepUntil, c.token.ExpiresAt) // it may be from a rotation that the store lost
	g.setPair(max(n+1, g.LowestValid), c.key, now, c.ttl)
	if g.Serial > n+1 {
		g.jump(n+1, g.Serial) // they were issued and revoked, and the store lost it
	}
	if scope != g.Scope || (c.throughData != "" && c.throughData != g.ThroughData) {
		// A grant has one scope and one through_data, so the older access tokens,
		// which were issued with different ones, end here.
		g.LowestValid = g.Serial
		g.Scope = scope
		if c.throughData != "" {
			g.ThroughData = c.throughData
		}
	}
	return decision{outcome: rotation, next: g}
}

// healed returns the decision on a token from a rotation that the store lost. The grant
// goes on from it, unless that would widen what the rotation had narrowed.
func (c *refreshCase) healed() decision {
	d := c.rotated()
	if was := c.token.GrantHash; was != c.grant.hash() && (d.outcome != rotation || was != d.next.hash()) {
		return refused(errRefreshChanged())
	}
	if d.outcome == rotation {
		d.outcome = healing
		// Another caller may hold, in good faith, what the store had meanwhile.
		d.next.jump(c.grant.Serial, max(c.token.Serial, c.grant.Serial+1))
		if c.token.Serial > c.grant.Serial {
			d.next.From1 = c.grant.Serial
		}
	}
	return d
}

// repeated returns the decision on a refresh that has been answered before.
func (c *refreshCase) repeated() decision {
	g := *c.grant
	switch {
	case c.now.Unix() >= g.RefreshExpires:
		return refused(errRefreshExpired())
	case g.Serial < g.LowestValid:
		return refused(errSuccessorRevoked())
	case !sameScope(g.Scope, c.scope):
		return refused(scopeError("This refresh token was already used with a different scope. Use the refresh token that was issued then."))
	case c.throughData != "" && c.throughData != g.ThroughData:
		return refused(apierr.New(apierr.AuthParameterInvalid,
			"This refresh token was already used with a different through_data. Use the refresh token that was issued then."))
	case c.now.Unix() < g.AccessExpires:
		return decision{outcome: repeat}
	}
	g.renewAccess(c.now, c.ttl.access)
	return decision{outcome: renewal, next: g}
}

func isMismatch(d decision) bool {
	return errors.Is(d.err, apierr.AppMismatch)
}

// accessCase holds everything that the verdict on an access token depends on.
type accessCase struct {
	token Claims
	grant *Grant   // nil: the store has none
	app   *app.App // nil: there is no such app
}

// decideAccess returns nil if an access token, which has been parsed and has not expired,
// is valid, else the reason why it is not, in the order of the design. A serial above the
// grant's is valid, since the store lost a rotation, but not with another scope or
// through_data than it was issued with.
func decideAccess(c accessCase) *apierr.Error {
	g := c.grant
	switch {
	case g == nil:
		return errAccessRevoked()
	case c.token.Serial < g.LowestValid:
		return errAccessRevoked()
	case g.provenApp(&c.token) == "":
		return errAccessForged()
	case c.token.outlives(g), c.token.GrantHash != g.hash():
		return errAccessRevoked()
	case c.app == nil:
		return apierr.New(apierr.AppNotExist,
			"The app that this access token was issued to no longer exists.")
	case c.app.Frozen:
		return apierr.New(apierr.AppFrozen,
			"The app that this access token was issued to is frozen.")
	case g.Generation < c.app.Generation:
		return errAccessRevoked()
	}
	return nil
}

// The answers. Each call returns a new one, so that no caller can change another's.

func errRefreshInvalid() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The refresh_token parameter is not a refresh token of this service. Send the refresh_token of the latest token response, unchanged, not an access token (at_...).")
}

func errRefreshForged() *apierr.Error {
	e := errRefreshInvalid()
	e.Cause = errForged
	return e
}

func errRefreshGone() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The refresh token is unknown: it was revoked, or its grant has ended. Get a new token with client_credentials.")
}

func errRefreshRevoked() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The refresh token was revoked together with all other tokens of this app. Get a new token with client_credentials.")
}

func errRefreshWithdrawn() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The key that signed the successor of this refresh token was withdrawn. Get a new token with client_credentials.")
}

func errRefreshSuperseded() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The refresh token was used before, and so was its successor. Use the newest refresh token; nothing was revoked.")
}

func errRefreshUnsure() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The refresh token was used before, perhaps too long ago for this to be a retry. Use the newest refresh token, or get a new token with client_credentials; nothing was revoked.")
}

func errRefreshLost() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The token store lost the refresh that issued this refresh token, and the grant has gone on without it. Use the newest refresh token, or get a new token with client_credentials; nothing was revoked.")
}

func errRefreshChanged() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The token store lost the refresh that changed the scope or the through_data of this refresh token. Send it again with that scope and through_data, or get a new token with client_credentials; nothing was revoked.")
}

func errSuccessorRevoked() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The refresh token was used before, and the access token that was issued then was revoked. Use the refresh token that was issued then; nothing else was revoked.")
}

func errRefreshReplayed() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The refresh token was used before, too long ago for this to be a retry. The grant and all its tokens are now revoked. Get a new token with client_credentials, and find out who else has this one.")
}

func errRefreshSpared() *apierr.Error {
	return apierr.New(apierr.RefreshTokenInvalid,
		"The refresh token was used before, too long ago for this to be a retry. Use the newest refresh token; nothing was revoked.")
}

func errRefreshExpired() *apierr.Error {
	return apierr.New(apierr.RefreshTokenExpired,
		"The refresh token has expired. Get a new token with client_credentials.")
}

func errAppMismatch() *apierr.Error {
	return apierr.New(apierr.AppMismatch,
		"The refresh token was issued to another app. Use the client_id that it was issued to.")
}

func errAccessMismatch() *apierr.Error {
	return apierr.New(apierr.AccessTokenInvalid,
		"The access token was issued to another app. Only its owner can revoke it; nothing was revoked.")
}

func errAccessInvalid() *apierr.Error {
	return apierr.New(apierr.AccessTokenInvalid,
		"The token is not an access token of this service. Send the access_token of a token response, unchanged, not a refresh token (rt_...).")
}

func errAccessForged() *apierr.Error {
	e := errAccessInvalid()
	e.Cause = errForged
	return e
}

func errAccessRevoked() *apierr.Error {
	return apierr.New(apierr.AccessTokenInvalid,
		"The access token was revoked, replaced by a refresh that changed its scope or through_data, or its grant has ended. Get a new one.")
}

func errAccessExpired() *apierr.Error {
	return apierr.New(apierr.AccessTokenExpired,
		"The access token has expired. Get a new one with the refresh token or with client_credentials.")
}
