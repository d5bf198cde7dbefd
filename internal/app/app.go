package app

import (
	"net/netip"
	"slices"
	"time"

	apierr "authsvc/internal/errors"
)

// RoleIntrospect lets an app call /oauth/introspect.
const RoleIntrospect = "introspect"

// App is one app and its policy. An App is never changed once a Registry holds
// it; a change of the apps file makes a new one.
type App struct {
	// Key is the AppKey, which is the OAuth client_id.
	Key string
	// Name is for people; it may be empty.
	Name string
	// SecretHash is the app's secret under the pepper.
	SecretHash SecretHash
	// Scopes are the scope tokens (RFC 6749 section 3.3) that the app may
	// have, each once, none of them "default". Their order is the order in
	// which a granted scope is written.
	Scopes []string
	// Roles are what the app may do beyond getting tokens.
	Roles []string
	// AccessTTL and RefreshTTL replace the service's defaults where they are
	// not 0. Whole seconds, 1 s to 72000 s.
	AccessTTL, RefreshTTL time.Duration
	// Frozen apps are refused with APIG.0502; their grants stay.
	Frozen bool
	// TrustedIPs are the networks the app may call from; none means any.
	TrustedIPs []netip.Prefix
	// Generation rises to revoke every token of the app at once: a grant of an
	// older generation is dead.
	Generation uint32
}

// HasRole tells whether the app has a role.
func (a *App) HasRole(role string) bool { return slices.Contains(a.Roles, role) }

// trusts tells whether the app may call from ip.
func (a *App) trusts(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("") // no prefix contains an address with a zone
	return len(a.TrustedIPs) == 0 ||
		slices.ContainsFunc(a.TrustedIPs, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Authenticated is an app that has just proved that it knows its secret. Only
// Registry.Authenticate makes one, so a function that takes one need not ask.
type Authenticated struct{ app *App }

// App is the app that proved itself.
func (a Authenticated) App() *App { return a.app }

// Admit applies the app's policy to a request that came from ip: APIG.0502 for
// a frozen app, APIG.0405 for an address that the app does not trust.
func (a Authenticated) Admit(ip netip.Addr) error {
	switch {
	case a.app.Frozen:
		return apierr.New(apierr.AppFrozen,
			"The app is frozen. Ask the operator to set its state to active; the tokens it holds work again then.")
	case !a.app.trusts(ip):
		return apierr.New(apierr.IPNotTrusted,
			"The address this request came from is not in the trusted_ips of the app. Call from a trusted network, or ask the operator to add this one.")
	}
	return nil
}
