package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"authsvc/internal/keyring"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
}

// keyring is the findings about a keyring that was made some time ago, after a
// change of it.
func keyringFile(ago time.Duration, mode fs.FileMode, change func(*keyring.Keyring) *keyring.Keyring) func(*testing.T) []Finding {
	return func(t *testing.T) []Finding {
		r := keyring.New(now.Add(-ago))
		if change != nil {
			r = change(r)
		}
		write(t, "keys.json", string(r.Marshal()), mode)
		return Keyring("keys.json", now)
	}
}

// rotated adds a key some time ago.
func rotated(ago time.Duration) func(*keyring.Keyring) *keyring.Keyring {
	return func(r *keyring.Keyring) *keyring.Keyring {
		next, _, err := r.Rotate(now.Add(-ago), false)
		if err != nil {
			panic(err)
		}
		return next
	}
}

func apps(text string, mode fs.FileMode) func(*testing.T) []Finding {
	return func(t *testing.T) []Finding {
		write(t, "apps.yaml", text, mode)
		return Apps("apps.yaml", time.Minute)
	}
}

// certificate is the findings about a certificate that began, and ends, so far from
// now.
func certificate(from, to time.Duration) func(*testing.T) []Finding {
	return func(t *testing.T) []Finding {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: now.Add(from), NotAfter: now.Add(to),
		}
		cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, "tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o600)
		write(t, "tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), 0o600)
		return TLS("tls.crt", "tls.key", now)
	}
}

func proxies(listen string, networks ...string) func(*testing.T) []Finding {
	return func(*testing.T) []Finding {
		var list []netip.Prefix
		for _, n := range networks {
			list = append(list, netip.MustParsePrefix(n))
		}
		return Proxies(listen, list)
	}
}

const (
	oneApp = "apps:\n  - key: billing-worker\n    secret: b1lling-Secret-0001\n"
	local  = "127.0.0.1:8080"

	oldSigner = "warning keyring_age keys.json"
	badCert   = "error tls_certificate tls.crt"
	soonBad   = "warning tls_certificate tls.crt"
	noProxy   = "note trusted_proxies --trusted-proxies"
)

var fileTests = []struct {
	name string
	find func(*testing.T) []Finding
	want []string
	what string // of the first; in it
	fix  string // the same
}{
	{name: "a new keyring", find: keyringFile(0, 0o600, nil)},
	{name: "90 days", find: keyringFile(90*day, 0o600, nil)},
	{
		name: "over 90 days", find: keyringFile(90*day+time.Second, 0o600, nil), want: []string{oldSigner},
		what: "Key 1 has been signing for 90 days", fix: "authsvc keys rotate --keys keys.json  #",
	},
	{name: "another signs", find: keyringFile(200*day, 0o600, rotated(50*day))},
	{name: "another is about to sign", find: keyringFile(200*day, 0o600, rotated(time.Minute))},
	{name: "another signed for as long", find: keyringFile(400*day, 0o600, rotated(100*day)), want: []string{oldSigner}, what: "Key 2 has been signing for 99 days"},
	{
		name: "a keyring for the group", find: keyringFile(0, 0o640, nil), want: []string{"warning keyring_permissions keys.json"},
		what: "mode 0640", fix: "chmod 600 keys.json",
	},
	{name: "a keyring for all", find: keyringFile(0, 0o604, nil), want: []string{"warning keyring_permissions keys.json"}},
	{name: "an old keyring for all", find: keyringFile(91*day, 0o644, nil), want: []string{"warning keyring_permissions keys.json", oldSigner}},
	{name: "a keyring for the owner to read", find: keyringFile(0, 0o400, nil)},
	{
		name: "no keyring", find: func(*testing.T) []Finding { return Keyring("no keys.json", now) },
		want: []string{"error keyring_file no keys.json"}, what: "no such file", fix: "authsvc keys init --keys 'no keys.json'  #",
	},
	{
		name: "a bad keyring", find: func(t *testing.T) []Finding { write(t, "keys.json", "{}", 0o600); return Keyring("keys.json", now) },
		want: []string{"error keyring_file keys.json"}, what: "keyring version 0", fix: "Restore your backup",
	},

	{name: "apps", find: apps(oneApp, 0o600)},
	{
		name: "a secret for all", find: apps(oneApp, 0o644), want: []string{"warning apps_permissions apps.yaml"},
		what: "apps.yaml holds a secret", fix: "chmod 600 apps.yaml",
	},
	{
		name: "faults", find: apps(oneApp+"  - key: short\n    secret: b1lling-Secret-0001\n", 0o644),
		want: []string{"error apps_file apps.yaml"}, what: "line 4: app 2: key", fix: "authsvc app check --apps apps.yaml",
	},
	{name: "no app", find: apps("", 0o600), want: []string{"error apps_file apps.yaml"}, what: "no app is listed. Add one."},
	{
		name: "no apps file", find: func(*testing.T) []Finding { return Apps("none.yaml", time.Minute) },
		want: []string{"error apps_file none.yaml"}, what: "no such file",
	},
	{name: "a life of the grace", find: apps(oneApp+"    refresh_ttl: 60s\n", 0o600)},
	{
		name: "a life under the grace", find: apps(oneApp+"    refresh_ttl: 59s\n", 0o600),
		want: []string{"warning apps_ttl apps.yaml"}, what: "app billing-worker", fix: "refresh_ttl",
	},
	{name: "an access token's life of the grace", find: apps(oneApp+"    access_ttl: 60s\n", 0o600)},
	{
		name: "an access token's life under the grace", find: apps(oneApp+"    access_ttl: 59s\n", 0o600),
		want: []string{"warning apps_ttl apps.yaml"}, what: "app billing-worker", fix: "access_ttl",
	},

	{name: "a certificate", find: certificate(-60*day, 31*day)},
	{name: "over 30 days", find: certificate(-60*day, 30*day+time.Second)},
	{name: "30 days", find: certificate(-60*day, 30*day), want: []string{soonBad}, what: "in 30 days", fix: "openssl x509 -in tls.crt -noout -dates"},
	{name: "30 days of a year", find: certificate(-335*day, 30*day), want: []string{soonBad}},
	{name: "over a third of a short one", find: certificate(-4*day, 2*day+time.Second)},
	{name: "a third of a short one", find: certificate(-4*day, 2*day), want: []string{soonBad}, what: "in 2 days"},
	{name: "a second", find: certificate(-60*day, time.Second), want: []string{soonBad}, what: "in 0 days"},
	{name: "expired", find: certificate(-60*day, 0), want: []string{badCert}, what: "expired at 2026-05-01T12:00:00Z"},
	{name: "from now", find: certificate(0, 90*day)},
	{name: "not yet", find: certificate(time.Second, 90*day), want: []string{badCert}, what: "not valid before"},
	{
		name: "no certificate", find: func(*testing.T) []Finding { return TLS("none.crt", "none.key", now) },
		want: []string{"error tls_certificate none.crt"}, what: "no such file", fix: "openssl pkey -in none.key -noout",
	},

	{name: "loopback without proxies", find: proxies(local)},
	{name: "localhost without proxies", find: proxies("localhost:8080")},
	{name: "IPv6 loopback without proxies", find: proxies("[::1]:8080")},
	{name: "all addresses without proxies", find: proxies(":8080"), want: []string{noProxy}, what: "X-Forwarded-For is ignored"},
	{name: "another address without proxies", find: proxies("10.0.0.1:8080"), want: []string{noProxy}},
	{name: "proxies", find: proxies(":8080", "10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32", "fd00::/8", "127.0.0.0/8", "1.2.3.4/32")},
	{
		name: "everybody", find: proxies(local, "0.0.0.0/0", "::/0"),
		want: []string{"error trusted_proxies --trusted-proxies 0.0.0.0/0", "error trusted_proxies --trusted-proxies ::/0"},
		what: "Every address",
	},
	{
		name: "half of everybody", find: proxies(local, "0.0.0.0/1", "10.0.0.0/7", "fc00::/6"),
		want: []string{
			"warning trusted_proxies --trusted-proxies 0.0.0.0/1", "warning trusted_proxies --trusted-proxies 10.0.0.0/7",
			"warning trusted_proxies --trusted-proxies fc00::/6",
		},
		what: "too wide",
	},
	{name: "a wide one", find: proxies(local, "8.0.0.0/8", "8.0.0.0/9"), want: []string{"warning trusted_proxies --trusted-proxies 8.0.0.0/8"}},
	{name: "a wide one of IPv6", find: proxies(local, "2001::/16", "2001::/17"), want: []string{"warning trusted_proxies --trusted-proxies 2001::/16"}},
	{
		name: "a file of everybody's", find: func(t *testing.T) []Finding { write(t, "x.pem", "x", 0o666); return Writable("x.pem") },
		want: []string{"warning writable_files x.pem"}, what: "can change it (mode 0666)", fix: "chmod go-w x.pem",
	},
	{
		name: "a secret file of everybody's", find: func(t *testing.T) []Finding {
			write(t, "secret", "b1lling-Secret-0001\n", 0o622)
			return apps("apps:\n  - key: billing-worker\n    secret_file: secret\n", 0o600)(t)
		},
		want: []string{"warning writable_files secret"}, what: "can change it (mode 0622)", fix: "chmod go-w secret",
	},
	{
		name: "public listeners", find: func(*testing.T) []Finding { return Listeners("203.0.113.7:80", "203.0.113.7:81", false, nil) },
		want: []string{"warning public_listeners --listen 203.0.113.7:80", "warning public_listeners --admin-listen 203.0.113.7:81"},
		what: "without TLS", fix: "--tls-cert",
	},
}

func TestFiles(t *testing.T) {
	for _, tt := range fileTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			found := tt.find(t)
			wantFindings(t, found, tt.want)
			if len(found) > 0 && (!strings.Contains(found[0].What, tt.what) || !strings.Contains(found[0].Fix, tt.fix)) {
				t.Errorf("%+v", found[0])
			}
		})
	}
}

// A secret in a file of its own counts as well, and no secret is shown.
func TestAppsWithSecretFiles(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "apps.yaml"), filepath.Join(dir, "secret")
	write(t, secret, "b1lling-Secret-0001\n", 0o644)
	write(t, path, "apps:\n  - key: billing-worker\n    secret_file: "+secret+"\n", 0o644)
	found := Apps(path, time.Minute)
	wantFindings(t, found, []string{"warning apps_permissions " + path})
	if found[0].Fix != "chmod 600 "+secret || strings.Contains(found[0].What, "b1lling") {
		t.Errorf("%+v", found)
	}
}
