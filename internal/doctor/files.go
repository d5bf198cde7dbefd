package doctor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"authsvc/internal/app"
	"authsvc/internal/app/appsfile"
	"authsvc/internal/keyring"
)

const (
	day = 24 * time.Hour

	oldKey       = 90 * day // since it began to sign
	soonToExpire = 30 * day // or a third of the certificate's lifetime, if that is shorter
)

// Keyring returns the findings about a keyring file.
func Keyring(path string, now time.Time) []Finding {
	ring, err := keyring.Read(path)
	if err != nil {
		return []Finding{KeyringError(path, err)}
	}
	return append(KeyringMode(path), keyAge(ring, path, now)...)
}

// KeyringError returns the finding that a keyring can't be read because of err.
func KeyringError(path string, err error) Finding {
	f := Finding{
		Check: KeyringFile, Subject: path, Severity: Error,
		What: "The keyring can't be used: " + err.Error() + ".",
		Why:  "The service does not start. One that is running keeps the keys that it has read.",
		Fix:  "Restore your backup of it. A new keyring invalidates every token and every secret_hash.",
	}
	if errors.Is(err, fs.ErrNotExist) {
		f.Fix = shell("authsvc", "keys", "init", "--keys", path) + "  # unless you have a backup of it: then restore that"
	}
	return f
}

// KeyringMode returns the finding that others besides its owner have access to a
// keyring, if so.
func KeyringMode(path string) []Finding {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return []Finding{{
		Check: KeyringPermissions, Subject: path, Severity: Warning,
		What: fmt.Sprintf("Others besides its owner have access to the keyring (mode %04o).", info.Mode().Perm()),
		Why:  "Anyone who has it and a copy of the store can forge tokens.",
		Fix:  shell("chmod", "600", path),
	}}
}

func keyAge(ring *keyring.Keyring, path string, now time.Time) []Finding {
	var signs *keyring.Key
	for _, k := range ring.Keys() {
		switch ring.State(k, now) {
		case keyring.Waiting:
			return nil // a rotation is under way
		case keyring.Signing:
			signs = k
		}
	}
	age := now.Sub(signs.SignsFrom)
	if age <= oldKey {
		return nil
	}
	return []Finding{{
		Check: KeyringAge, Subject: path, Severity: Warning,
		What: fmt.Sprintf("Key %d has been signing for %d days.", signs.ID, age/day),
		Why:  "The longer a key is in use, the more copies of it there are, and anyone who has one and a copy of the store can forge tokens.",
		Fix:  shell("authsvc", "keys", "rotate", "--keys", path) + "  # and copy the file to every replica within five minutes",
	}}
}

// Apps returns the findings about an apps file and the secret files that it names.
// grace is how long a repeated refresh gets the same tokens.
func Apps(path string, grace time.Duration) []Finding {
	f, err := appsfile.Read(path, app.Pepper{}, nil) // no secret is compared with anything
	var faults []string
	if wrong := (*appsfile.Error)(nil); errors.As(err, &wrong) {
		faults = wrong.Faults
	} else if err != nil {
		faults = append(faults, err.Error())
	}
	var found []Finding
	for _, fault := range faults {
		what, _, _ := strings.Cut(fault, "\n") // an example may follow
		found = append(found, Finding{
			Check: AppsFile, Subject: path, Severity: Error, What: strings.TrimSuffix(what, ":") + ".",
			Why: "The service does not start. One that is running keeps the apps that it has read.",
			Fix: "Correct the file, then run: " + shell("authsvc", "app", "check", "--apps", path),
		})
	}
	return append(found, GoodApps(path, f, grace)...)
}

// GoodApps returns the findings about an apps file that was read without faults.
func GoodApps(path string, f appsfile.File, grace time.Duration) []Finding {
	found := Writable(f.SecretFiles...)
	for _, e := range f.Exposed {
		found = append(found, Finding{
			Check: AppsPermissions, Subject: path, Severity: Warning,
			What: fmt.Sprintf("%s holds a secret, and others besides its owner can read it (mode %04o).", e.Path, e.Mode),
			Why:  "Anyone who has an app's secret can get tokens in its name.",
			Fix:  shell("chmod", "600", e.Path),
		})
	}
	for _, a := range f.Apps {
		for _, life := range []struct {
			setting string
			is      time.Duration // 0: the service's, which is checked with the settings
			so, why string
		}{
			{
				"refresh_ttl", a.RefreshTTL, "retrying a refresh can come too late.",
				"The app then has to get a new token with its secret, although it only retried.",
			},
			{
				"access_ttl", a.AccessTTL, "retrying a refresh can return another access token than the refresh did.",
				"Callers of the app who share a pair, and refresh it at once, may hold two access tokens of it.",
			},
		} {
			if life.is == 0 || life.is >= grace {
				continue
			}
			found = append(found, Finding{
				Check: AppsTTL, Subject: path, Severity: Warning,
				What: fmt.Sprintf("app %s: its %s of %s is shorter than the refresh grace of %s, so %s", a.Key, life.setting, life.is, grace, life.so),
				Why:  life.why,
				Fix:  "Raise the app's " + life.setting + " in " + path + ", or lower --refresh-grace.",
			})
		}
	}
	return found
}

// TLS returns the findings about a certificate and its key, in PEM.
func TLS(certFile, keyFile string, now time.Time) []Finding {
	f := Finding{
		Check: TLSCertificate, Subject: certFile, Severity: Error,
		Why: "Clients will reject the connection.",
		Fix: "Renew it, and replace the file. Then check the dates: " + shell("openssl", "x509", "-in", certFile, "-noout", "-dates"),
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		f.What = "The certificate and its key can't be used: " + err.Error() + "."
		f.Why = "The service does not start."
		f.Fix = shell("openssl", "x509", "-in", certFile, "-noout", "-subject") + "; " +
			shell("openssl", "pkey", "-in", keyFile, "-noout") + "  # both must succeed, and the two must belong together"
		return []Finding{f}
	}
	c := pair.Leaf
	left := c.NotAfter.Sub(now)
	switch {
	case now.Before(c.NotBefore):
		f.What = fmt.Sprintf("The certificate is not valid before %s.", c.NotBefore.Format(time.RFC3339))
		f.Fix = "timedatectl  # is the clock of this machine right? If it is, restore the previous certificate"
	case left <= 0:
		f.What = fmt.Sprintf("The certificate expired at %s.", c.NotAfter.Format(time.RFC3339))
	case left <= min(soonToExpire, c.NotAfter.Sub(c.NotBefore)/3):
		f.Severity = Warning
		f.What = fmt.Sprintf("The certificate expires at %s, in %s.", c.NotAfter.Format(time.RFC3339), count(int(left/day), "day"))
		f.Why = "From then on, clients will reject the connection."
	default:
		return nil
	}
	return []Finding{f}
}

// Private networks: however wide, they hold no stranger.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
}

// The prefix lengths of networks that are too wide to be one operator's.
const (
	wide4 = 8
	wide6 = 16
)

// Proxies returns the findings about the trusted proxies of a service that listens on
// an address.
func Proxies(listen string, networks []netip.Prefix) []Finding {
	if len(networks) == 0 && !loopback(listen) {
		return []Finding{{
			Check: TrustedProxies, Subject: "--trusted-proxies", Severity: Note,
			What: "No proxy is trusted, so X-Forwarded-For is ignored.",
			Why:  "Behind a proxy, every call then seems to come from the proxy, for the apps' trusted_ips and in the log. If clients connect directly, nothing is wrong.",
			Fix:  "List the proxies, if there are any, in --trusted-proxies.",
		}}
	}
	var found []Finding
	for _, p := range networks {
		f := Finding{
			Check: TrustedProxies, Subject: "--trusted-proxies " + p.String(), Severity: Error,
			What: "Every address is trusted as a proxy.",
			Why:  "Any caller can choose its own address with X-Forwarded-For: the apps' trusted_ips protect nothing, and the log can't be relied on.",
			Fix:  "List only the addresses of your proxies in --trusted-proxies.",
		}
		if p.Bits() > 0 {
			inside := func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }
			if p.Bits() > wide(p) || slices.ContainsFunc(private, inside) {
				continue
			}
			f.Severity = Warning
			f.What = "A trusted network is too wide to be all yours."
			f.Why = "Callers from it can choose their own address with X-Forwarded-For, for the apps' trusted_ips and in the log."
		}
		found = append(found, f)
	}
	return found
}

func wide(p netip.Prefix) int {
	if p.Addr().Is4() {
		return wide4
	}
	return wide6
}

// loopback reports whether only this machine can connect.
func loopback(listen string) bool {
	host, _, _ := net.SplitHostPort(listen)
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}
