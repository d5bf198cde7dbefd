package answer

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientIP returns the address that a request came from: the peer's, or, if that is a
// trusted proxy, the rightmost address in X-Forwarded-For that is not one, with or
// without a port.
//
// If a trusted proxy sends something that is not an address, the result is not valid,
// and no network contains it: treating the proxy as the client would let everybody behind
// it into the proxy's networks.
func clientIP(r *http.Request, proxies []netip.Prefix) netip.Addr {
	ip := parseIP(r.RemoteAddr)
	forwarded := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	for forwarded != "" && inside(ip, proxies) {
		i := strings.LastIndexByte(forwarded, ',')
		ip = parseIP(strings.TrimSpace(forwarded[i+1:]))
		forwarded = forwarded[:max(i, 0)]
	}
	return ip
}

// FromProxy reports whether a request comes directly from one of the proxies.
func FromProxy(r *http.Request, proxies []netip.Prefix) bool {
	return inside(parseIP(r.RemoteAddr), proxies)
}

func inside(ip netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// parseIP parses an address with or without a port.
func parseIP(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	ip, _ := netip.ParseAddr(strings.Trim(s, "[]"))
	return ip.Unmap().WithZone("")
}
