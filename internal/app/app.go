package app

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	apierr "authsvc/internal/errors"
)

// The limits of apps.
const (
	// MaxApps is the maximum number of apps of a service; every process holds them all.
	MaxApps = 10_000
	// MaxSecrets is the maximum number of secrets of an app.
	MaxSecrets = 5
	// MaxScopeLen is the maximum length of an app's scopes, joined with spaces, in
	// bytes: one scope parameter can request all of them.
	MaxScopeLen = 4096
	// MinTTL and MaxTTL bound the lifetimes of an app's tokens.
	MinTTL = time.Second
	MaxTTL = 72000 * time.Second
)

// RoleIntrospect lets an app call /oauth/introspect.
const RoleIntrospect = "introspect"

// App is one app and its policy. An App never changes once a Registry holds it; it is
// replaced instead.
type App struct {
	// Key is the AppKey, which is the OAuth client_id.
	Key string
	// Name is for people; it may be empty.
	Name string
	// Secrets are the secrets that authenticate the app: one to MaxSecrets.
	Secrets []Secret
	// Scopes are the scope tokens (RFC 6749 section 3.3) that the app may have, each
	// once, none of them "default". A granted scope lists them in this order.
	Scopes []string
	// Roles are what the app may do beyond getting tokens.
	Roles []string
	// AccessTTL and RefreshTTL replace the service's defaults if they are not 0. Whole
	// seconds, 1 s to 72000 s.
	AccessTTL, RefreshTTL time.Duration
	// Frozen apps are refused with APIG.0502; their grants stay.
	Frozen bool
	// TrustedIPs are the networks the app may call from; none means any.
	TrustedIPs []netip.Prefix
	// Generation is raised to revoke every token of the app at once: a grant of an older
	// generation is no longer valid.
	Generation uint32
}

// HasRole reports whether the app has a role.
func (a *App) HasRole(role string) bool { return slices.Contains(a.Roles, role) }

// trusts reports whether the app may call from ip.
func (a *App) trusts(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("") // no prefix contains an address with a zone
	return len(a.TrustedIPs) == 0 ||
		slices.ContainsFunc(a.TrustedIPs, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Authenticated is an app that has just proved that it knows its secret. Only
// Registry.Authenticate returns one, so a function that takes one need not check.
type Authenticated struct{ app *App }

// App returns the authenticated app.
func (a Authenticated) App() *App { return a.app }

// Admit applies the app's policy to a request from ip. It returns APIG.0502 if the app
// is frozen, APIG.0405 if the app does not trust the address.
func (a Authenticated) Admit(ip netip.Addr) error {
	switch {
	case a.app.Frozen:
		return apierr.New(apierr.AppFrozen,
			"The app is frozen. Ask the operator to set its state to active; its tokens then work again.")
	case !a.app.trusts(ip):
		hint := "The address this request came from is not in the trusted_ips of the app. Call from a trusted network, or ask the operator to add this one."
		if ip.IsValid() {
			hint += " It is seen as " + ip.Unmap().WithZone("").String() + "; if that is a proxy, it belongs in --trusted-proxies."
		}
		return apierr.New(apierr.IPNotTrusted, hint)
	}
	return nil
}

// ValidScope reports whether s is a scope-token of RFC 6749 section 3.3.
func ValidScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r < '!' || r > '~' || r == '"' || r == '\\'
	})
}

// ParseNetwork parses a network in CIDR notation, or an address as the network of only
// that address. An IPv4-mapped IPv6 network becomes the IPv4 one, as callers' addresses
// do. The error does not quote an s that is neither.
func ParseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("must be an IP address, or a network such as 10.0.0.0/8 or 2001:db8::/32")
	}
	if ip := p.Addr(); ip.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%s is wider than all of IPv4; write the IPv4 network instead", p)
		}
		p = netip.PrefixFrom(ip.Unmap(), p.Bits()-96)
	}
	if m := p.Masked(); m != p {
		return netip.Prefix{}, fmt.Errorf("%s is an address in a network; the network is %s", p, m)
	}
	return p, nil
}
