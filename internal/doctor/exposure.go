package doctor

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// Writable returns the findings that others besides their owner can change these files, or
// put others in their place.
func Writable(files ...string) []Finding {
	var found []Finding
	looked := map[string]bool{}
	look := func(path string) {
		if looked[path] {
			return
		}
		looked[path] = true
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0 {
			return
		}
		what := "change it"
		if info.IsDir() {
			what = "put other files in the place of those of the service in it"
		}
		found = append(found, Finding{
			Check: WritableFiles, Subject: path, Severity: Warning,
			What: fmt.Sprintf("Others besides its owner can %s (mode %04o).", what, info.Mode().Perm()),
			Why:  "Anyone who can change the service's files decides which apps, keys and settings are good.",
			Fix:  shell("chmod", "go-w", path),
		})
	}
	for _, path := range files {
		look(path)
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue // that it can't be read is another finding
		}
		for _, p := range []string{path, target} {
			if p, err = filepath.Abs(p); err != nil {
				continue
			}
			for dir := filepath.Dir(p); ; dir = filepath.Dir(dir) {
				look(dir)
				if dir == filepath.Dir(dir) {
					break
				}
			}
		}
	}
	return found
}

// Listeners returns the findings about listeners that strangers can reach: a public one
// without TLS, and an admin listener at all. local are the addresses of this machine.
func Listeners(listen, adminListen string, tls bool, local []netip.Addr) []Finding {
	var found []Finding
	if at := public(listen, local); at.IsValid() && !tls {
		found = append(found, Finding{
			Check: PublicListeners, Subject: "--listen " + listen, Severity: Warning,
			What: fmt.Sprintf("The service listens on a public address (%s) without TLS.", at),
			Why:  "Secrets and tokens can be read and changed on their way.",
			Fix:  "Give it a certificate with --tls-cert and --tls-key, or let it listen only where a proxy with TLS connects: --listen 127.0.0.1:8080",
		})
	}
	if at := public(adminListen, local); at.IsValid() {
		found = append(found, Finding{
			Check: PublicListeners, Subject: "--admin-listen " + adminListen, Severity: Warning,
			What: fmt.Sprintf("The admin listener is on a public address (%s).", at),
			Why:  "It asks nobody for a password, and tells who the apps are and what they do.",
			Fix:  "Let it listen on a private address, as in --admin-listen 127.0.0.1:8081",
		})
	}
	return found
}

// LocalAddresses returns the addresses of this machine; none if they can't be told.
func LocalAddresses() []netip.Addr {
	var local []netip.Addr
	found, _ := net.InterfaceAddrs()
	for _, a := range found {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local = append(local, p.Addr())
		}
	}
	return local
}

// shared is the address space between a provider and its customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// public returns an address at which a listener can be reached from the internet, or the
// zero address.
func public(listen string, local []netip.Addr) netip.Addr {
	at, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return netip.Addr{}
	}
	addrs := local
	ip, ok := netip.AddrFromSlice(at.IP) // not for ":8080"
	switch ip = ip.Unmap(); {
	case ok && !ip.IsUnspecified():
		addrs = []netip.Addr{ip}
	case ok && ip.Is4():
		addrs = nil
		for _, a := range local {
			if a.Unmap().Is4() {
				addrs = append(addrs, a)
			}
		}
	}
	for _, a := range addrs {
		if a = a.Unmap(); a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a) {
			return a
		}
	}
	return netip.Addr{}
}
