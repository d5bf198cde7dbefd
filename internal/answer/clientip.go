package answer

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientIP returns the address that a request came from: that of the peer, or, where
// that is a trusted proxy, the right-most address of X-Forwarded-For that is not
// one, with or without a port.
//
// Where a trusted proxy sends something that is no address, the result is not
// valid, and no network contains it: taking the proxy itself for the client would
// let everybody behind it into a network that the proxy is in.
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

// parseIP reads an address with or without a port.
func parseIP(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	ip, _ := netip.ParseAddr(strings.Trim(s, "[]"))
	return ip.Unmap().WithZone("")
}
