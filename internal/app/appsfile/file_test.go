package appsfile

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"authsvc/internal/app"
	"authsvc/internal/strictyaml"
)

var testPepper = app.Pepper{1, 2, 3}

// noFiles is a file system without files.
func noFiles(path string) ([]byte, fs.FileMode, error) {
	return nil, 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// parseText parses an apps file that names no secret files.
func parseText(text string) (File, error) {
	return parse("apps.yaml", []byte(text), 0o600, testPepper, noFiles)
}

// write writes a file of a test and returns its path.
func write(t *testing.T, path, text string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}

const example = `apps:
  - key: billing-worker          # AppKey = client_id
    name: Billing worker
    secret: b1lling-Secret-0001  # exactly one of: secret, secret_file, secret_hash
    scopes: [orders.read, orders.write]  # RFC 6749 section 3.3
    roles: [introspect]          # only known roles
    access_ttl: 1h               # whole seconds, 1s to 72000s
    refresh_ttl: 2h
    state: active                # or frozen; default active
    trusted_ips: [10.0.0.0/8]    # CIDR or single address
    generation: 0                # raise by one to revoke every token of the app
`

func TestReadExample(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "apps.yaml"), example, 0o600)
	got, err := Read(path, testPepper, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := File{Apps: []app.App{{
		Key: "billing-worker", Name: "Billing worker", Secrets: []app.Secret{{Hash: testPepper.Hash("b1lling-Secret-0001")}},
		Scopes: []string{"orders.read", "orders.write"}, Roles: []string{app.RoleIntrospect},
		AccessTTL: time.Hour, RefreshTTL: 2 * time.Hour,
		TrustedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseGood(t *testing.T) {
	const head = "apps:\n- key: app-0001\n  secret: s3cret-0\n"
	hash := testPepper.Hash("s3cret-0")
	tests := []struct {
		name, text string
		want       app.App // but for the key and the secret
	}{
		{"the least", head, app.App{}},
		{"a byte order mark and CRLF", "\ufeff" + strings.ReplaceAll(head, "\n", "\r\n"), app.App{}},
		{"a document marker", "---\n" + head + "...\n", app.App{}},
		{"flow style", `{apps: [{key: app-0001, secret: "s3cret-0"}]}`, app.App{}},
		{"a hash", "apps:\n- key: app-0001\n  secret_hash: " + hash.String() + "\n", app.App{}},
		{"a block text", "apps:\n- key: app-0001\n  secret: |-\n    s3cret-0\n", app.App{}},
		{"frozen", head + "  state: frozen\n", app.App{Frozen: true}},
		{"the highest generation", head + "  generation: 4294967295\n", app.App{Generation: 1<<32 - 1}},
		{
			"the shortest and the longest life", head + "  access_ttl: 1s\n  refresh_ttl: 72000s\n",
			app.App{AccessTTL: time.Second, RefreshTTL: 72000 * time.Second},
		},
		{"no scopes", head + "  scopes: []\n", app.App{}},
		{
			"the ends of the scope alphabet", head + "  scopes: ['!', '#', '[', ']', '~']\n",
			app.App{Scopes: []string{"!", "#", "[", "]", "~"}},
		},
		{
			"the longest scope", head + "  scopes: [" + strings.Repeat("s", app.MaxScopeLen) + "]\n",
			app.App{Scopes: []string{strings.Repeat("s", app.MaxScopeLen)}},
		},
		{
			"networks", head + "  trusted_ips: [192.0.2.1, ::1, '::ffff:192.0.2.1', '::ffff:10.0.0.0/104', 2001:db8::/32, 0.0.0.0/0]\n",
			app.App{TrustedIPs: []netip.Prefix{
				netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("::1/128"),
				netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("10.0.0.0/8"),
				netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("0.0.0.0/0"),
			}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseText(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Key, tt.want.Secrets = "app-0001", []app.Secret{{Hash: hash}}
			if diff := cmp.Diff([]app.App{tt.want}, got.Apps, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Two keys may share the first 32 bits of their SHA-256, which a token carries.
func TestParseSameTag(t *testing.T) {
	f, err := parseText("apps:\n- {key: tenant-app-072704, secret: s3cret-0}\n- {key: tenant-app-145649, secret: s3cret-1}\n")
	if err != nil || len(f.Apps) != 2 {
		t.Errorf("got %d apps, %v", len(f.Apps), err)
	}
}

func TestParseFaults(t *testing.T) {
	// A row's text follows a good key and a good secret, so it begins in line 4.
	const head = "apps:\n- key: app-0001\n  secret: s3cret-0\n"
	const (
		keyShape    = "must be 8 to 200 of A-Z, a-z, 0-9, - and _, starting with a letter or a digit"
		secretShape = "must be 8 to 128 of A-Z, a-z, 0-9 and -_!@#$%, starting with a letter or a digit"
		secretNames = "give one of secret, secret_file and secret_hash"
		names       = "key, name, secret, secret_file, secret_hash, scopes, roles, access_ttl, refresh_ttl, state, trusted_ips, generation"
		notText     = "must be text, and YAML reads it as a number or a truth value: put it in quotes"
		noAlias     = "YAML tags, anchors and aliases are not read here: put the value in quotes"
		scopeShape  = `must be printable ASCII without spaces, " and \ (RFC 6749 section 3.3)`
		ttlRange    = "must be whole seconds from 1s to 20h0m0s (72000s); leave it out for the service's default"
		ipShape     = "must be an IP address, or a network such as 10.0.0.0/8 or 2001:db8::/32"
		generation  = "must be a whole number from 0 to 4294967295"
		tooDeep     = "lists and mappings nested more than 64 deep: look for a bracket that is not closed"
	)
	tests := []struct{ name, text, want string }{
		// the file
		{"empty", "", howToAddAnApp},
		{"only a comment", "# none yet\n", howToAddAnApp},
		{"no list", "apps:\n", howToAddAnApp},
		{"empty list", "apps: []\n", howToAddAnApp},
		{"empty mapping", "{}", howToAddAnApp},
		{"not UTF-8", "apps: \xff", "not a text file in UTF-8"},
		{"NUL", "apps: \x00", "not a text file in UTF-8"},
		{"a list at the top", "- key: app-0001\n", "line 1: the file: must consist of entries with a name and a colon; the names are apps"},
		{"a text at the top", "apps", "line 1: the file: must consist of entries with a name and a colon; the names are apps"},
		{"apps is a text", "apps: x", `line 1: apps: must be a list, each entry beginning with "- key: "`},
		{"apps is a mapping", "apps:\n  key: x", `line 1: apps: must be a list, each entry beginning with "- key: "`},
		{"unknown name at the top", head + "version: 1\n", "line 4: the file: unknown name before the colon; known are apps"},
		{"apps twice", head + "apps: []\n", "line 4: the file: apps: duplicate key, first in line 1"},
		{"two documents", head + "---\napps: []\n", "line 5: YAML directives and further documents are not read here"},
		{"a directive", "%YAML 1.2\n---\n" + head, "line 1: YAML directives and further documents are not read here"},
		{"UTF-16", "\xff\xfea\x00", "not a text file in UTF-8"},
		{"null", "null\n", "line 1: the file: must consist of entries with a name and a colon; the names are apps"},
		{"a tag on all of it", "!x\n" + head, "line 1: the file: must consist of entries with a name and a colon; the names are apps"},
		{"a merge at the top", head + "<<: {apps: []}\n", "line 4: the file: unknown name before the colon; known are apps"},
		{"an alias for the list", "apps: *a\n", `line 1: apps: must be a list, each entry beginning with "- key: "`},
		{"an anchor on the list", "apps: &a []\n", `line 1: apps: must be a list, each entry beginning with "- key: "`},
		{"a tag on the list", "apps: !x []\n", `line 1: apps: must be a list, each entry beginning with "- key: "`},
		{"brackets without end", head + "  scopes: " + strings.Repeat("[", 10_000) + "\n", "line 4: " + tooDeep},
		{"dashes without end", head + "  scopes:\n  " + strings.Repeat("- ", 10_000) + "\n", "line 5: " + tooDeep},
		{"braces without end", head + "  name: " + strings.Repeat("{a: ", 10_000) + "\n", "line 4: " + tooDeep},
		{"names without end", head + strings.Repeat("  name: a\n", 1000), "line 1002: more than 1000 keys in one mapping: look for a brace that is not closed"},
		{"a text without end", "apps: " + strings.Repeat("x", strictyaml.MaxSize), "longer than 8388608 bytes"},
		{"syntax", head + "  name: a: b\n", "line 4: not valid YAML from here on (column 9): look at the indentation, the colons and the quotes"},
		{"a tab", head + "\tname: a\n", "line 4: not valid YAML from here on (column 1): look at the indentation, the colons and the quotes"},
		{"too many apps", "apps: [" + strings.Repeat("{},", app.MaxApps) + "{}]", "line 1: apps: there are 10001 apps; at most 10000 are allowed"},
		// entries
		{"an alias for an app", "apps:\n- *a\n", "line 2: app 1: must consist of entries with a name and a colon; the names are " + names},
		{"a text for an app", "apps: [app-0001]", "line 1: app 1: must consist of entries with a name and a colon; the names are " + names},
		{"nothing for an app", "apps:\n- {key: app-0001, secret: s3cret-0}\n-\n", "line 3: app 2: must consist of entries with a name and a colon; the names are " + names},
		{"unknown name", head + "  scope: [a]\n", "line 4: app 1: unknown name before the colon; known are " + names},
		{"merge key", head + "  <<: {name: x}\n", "line 4: app 1: unknown name before the colon; known are " + names},
		{"number for a name", head + "  1: x\n", "line 4: app 1: unknown name before the colon; known are " + names},
		{"explicit key", head + "  ? a\n  : x\n", "line 4: app 1: unknown name before the colon; known are " + names},
		{"name twice", head + "  name: a\n  name: b\n", "line 5: app 1: name: duplicate key, first in line 4"},
		// key
		{"no key", "apps:\n- secret: s3cret-0\n", "line 2: app 1: key is missing"},
		{"bad key", "apps:\n- key: short\n  secret: s3cret-0\n", "line 2: app 1: key: " + keyShape},
		{"key empty", "apps:\n- key:\n  secret: s3cret-0\n", "line 2: app 1: key: is empty; leave it out, or give a value"},
		{"key is a number", "apps:\n- key: 12345678\n  secret: s3cret-0\n", "line 2: app 1: key: " + notText},
		{"key twice", head + "- {key: app-0001, secret: s3cret-1}\n", "line 4: app 2: key: the app in line 2 has the same key"},
		// secret
		{"no secret", "apps:\n- key: app-0001\n", "line 2: app app-0001: has no secret; " + secretNames},
		{
			"two secrets", head + "  secret_hash: " + testPepper.Hash("s3cret-0").String() + "\n",
			"line 2: app app-0001: has secret and secret_hash; give one of them only",
		},
		{"bad secret", "apps:\n- key: app-0001\n  secret: short\n", "line 3: app app-0001: secret: " + secretShape},
		{"secret empty", "apps:\n- key: app-0001\n  secret: ''\n", "line 3: app app-0001: secret: " + secretShape},
		{"secret null", "apps:\n- key: app-0001\n  secret:\n", "line 3: app app-0001: secret: is empty; leave it out, or give a value"},
		{"secret is a number", "apps:\n- key: app-0001\n  secret: 1234567890\n", "line 3: app app-0001: secret: " + notText},
		{"secret is a mapping", "apps:\n- key: app-0001\n  secret: {a: b}\n", "line 3: app app-0001: secret: must be text, not a list or a mapping"},
		{"secret is an anchor", "apps:\n- key: app-0001\n  secret: &a s3cret-0\n", "line 3: app app-0001: secret: " + noAlias},
		{"secret is an alias", "apps:\n- key: app-0001\n  secret: *a\n", "line 3: app app-0001: secret: " + noAlias},
		{"scope is an alias", head + "  scopes: [a, *b]\n", "line 4: app app-0001: scopes, entry 2: " + noAlias},
		{"scopes are an alias", head + "  scopes: *a\n", "line 4: app app-0001: scopes: must be a list, such as [one, two]; leave it out for none"},
		{"long name without end", head + "  name: " + strings.Repeat("x", 1<<16), "line 4: app app-0001: name: must be one line of at most 200 characters"},
		{"secret has a tag", "apps:\n- key: app-0001\n  secret: !!str 12345678\n", "line 3: app app-0001: secret: " + noAlias},
		{"bad hash", "apps:\n- key: app-0001\n  secret_hash: hmac-sha256:AAAA\n", "line 3: app app-0001: secret_hash: not of the form hmac-sha256:... that authsvc app hash prints"},
		{"secret file missing", "apps:\n- key: app-0001\n  secret_file: none\n", "line 3: app app-0001: secret_file: the file it names can't be read: file does not exist"},
		{"secret file empty", "apps:\n- key: app-0001\n  secret_file: ''\n", "line 3: app app-0001: secret_file: is empty"},
		// the rest
		{"long name", head + "  name: " + strings.Repeat("é", 201), "line 4: app app-0001: name: must be one line of at most 200 characters"},
		{"two lines of name", head + "  name: \"a\\nb\"\n", "line 4: app app-0001: name: must be one line of at most 200 characters"},
		{"scopes is a text", head + "  scopes: orders.read\n", "line 4: app app-0001: scopes: must be a list, such as [one, two]; leave it out for none"},
		{"scopes is empty", head + "  scopes:\n", "line 4: app app-0001: scopes: must be a list, such as [one, two]; leave it out for none"},
		{"scope with a space", head + "  scopes: [a, b c]\n", "line 4: app app-0001: scopes, entry 2: " + scopeShape},
		{"scope with a quote", head + "  scopes: ['a\"b']\n", "line 4: app app-0001: scopes, entry 1: " + scopeShape},
		{"scope with a backslash", head + "  scopes: ['a\\b']\n", "line 4: app app-0001: scopes, entry 1: " + scopeShape},
		{"scope not ASCII", head + "  scopes: [é]\n", "line 4: app app-0001: scopes, entry 1: " + scopeShape},
		{"scope empty", head + "  scopes: ['']\n", "line 4: app app-0001: scopes, entry 1: " + scopeShape},
		{"scope is a number", head + "  scopes:\n  - a\n  - 7\n", "line 6: app app-0001: scopes, entry 2: " + notText},
		{"scope twice", head + "  scopes: [a, b, a]\n", "line 4: app app-0001: scopes, entry 3: duplicate"},
		{"scope default", head + "  scopes: [default]\n", "line 4: app app-0001: scopes, entry 1: no scope may be named default: a client that asks for it asks for all"},
		{"scopes too long", head + "  scopes: [a, " + strings.Repeat("s", app.MaxScopeLen-1) + "]\n", "line 4: app app-0001: scopes: must be at most 4096 bytes when joined with spaces"},
		{"unknown role", head + "  roles: [admin]\n", "line 4: app app-0001: roles, entry 1: unknown role; there is only introspect"},
		{"role twice", head + "  roles: [introspect, introspect]\n", "line 4: app app-0001: roles, entry 2: duplicate"},
		{"ttl without a unit", head + "  access_ttl: 3600\n", "line 4: app app-0001: access_ttl: must have a unit, as in 3600s or 1h"},
		{"ttl is no duration", head + "  access_ttl: an hour\n", "line 4: app app-0001: access_ttl: must be a duration, as in 90s, 30m or 1h"},
		{"ttl zero", head + "  access_ttl: 0s\n", "line 4: app app-0001: access_ttl: " + ttlRange},
		{"ttl not whole", head + "  refresh_ttl: 1500ms\n", "line 4: app app-0001: refresh_ttl: " + ttlRange},
		{"ttl too long", head + "  refresh_ttl: 72001s\n", "line 4: app app-0001: refresh_ttl: " + ttlRange},
		{"unknown state", head + "  state: paused\n", "line 4: app app-0001: state: must be active or frozen"},
		{"no address", head + "  trusted_ips: [localhost]\n", "line 4: app app-0001: trusted_ips, entry 1: " + ipShape},
		{"address with a zone", head + "  trusted_ips: ['fe80::1%eth0']\n", "line 4: app app-0001: trusted_ips, entry 1: " + ipShape},
		{"host bits", head + "  trusted_ips: [10.1.2.3/8]\n", "line 4: app app-0001: trusted_ips, entry 1: 10.1.2.3/8 is an address in a network; the network is 10.0.0.0/8"},
		{"mapped host bits", head + "  trusted_ips: ['::ffff:10.1.2.3/104']\n", "line 4: app app-0001: trusted_ips, entry 1: 10.1.2.3/8 is an address in a network; the network is 10.0.0.0/8"},
		{"mapped and too wide", head + "  trusted_ips: ['::ffff:0.0.0.0/90']\n", "line 4: app app-0001: trusted_ips, entry 1: ::ffff:0.0.0.0/90 is wider than all of IPv4; write the IPv4 network instead"},
		{"generation negative", head + "  generation: -1\n", "line 4: app app-0001: generation: " + generation},
		{"generation too high", head + "  generation: 4294967296\n", "line 4: app app-0001: generation: " + generation},
		{"generation in quotes", head + "  generation: '1'\n", "line 4: app app-0001: generation: " + generation},
		{"generation not whole", head + "  generation: 1.0\n", "line 4: app app-0001: generation: " + generation},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := parseText(tt.text)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v instead of a *Error", err)
			}
			if diff := cmp.Diff([]string{tt.want}, e.Faults); diff != "" {
				t.Error(diff)
			}
			if e.Error() != "apps.yaml: "+tt.want {
				t.Errorf("Error() = %q", e.Error())
			}
			if len(f.Apps) > 0 || len(f.Exposed) > 0 {
				t.Errorf("a faulty file gave %d apps and %d exposed files", len(f.Apps), len(f.Exposed))
			}
		})
	}
}

func TestParseAllFaultsAtOnce(t *testing.T) {
	_, err := parseText(`apps:
  - key: billing-worker
    secret: short
    scopes: [default, a, a]
    state: idle
    trusted_ips: [10.0.0.1/8, nowhere]
    colour: red
  - secret: s3cret-0
    access_ttl: 3600
version: 2
`)
	const want = `apps.yaml: 10 faults
  line 3: app billing-worker: secret: must be 8 to 128 of A-Z, a-z, 0-9 and -_!@#$%, starting with a letter or a digit
  line 4: app billing-worker: scopes, entry 1: no scope may be named default: a client that asks for it asks for all
  line 4: app billing-worker: scopes, entry 3: duplicate
  line 5: app billing-worker: state: must be active or frozen
  line 6: app billing-worker: trusted_ips, entry 1: 10.0.0.1/8 is an address in a network; the network is 10.0.0.0/8
  line 6: app billing-worker: trusted_ips, entry 2: must be an IP address, or a network such as 10.0.0.0/8 or 2001:db8::/32
  line 7: app 1: unknown name before the colon; known are key, name, secret, secret_file, secret_hash, scopes, roles, access_ttl, refresh_ttl, state, trusted_ips, generation
  line 8: app 2: key is missing
  line 9: app 2: access_ttl: must have a unit, as in 3600s or 1h
  line 10: the file: unknown name before the colon; known are apps`
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestErrorIsBounded(t *testing.T) {
	_, err := parseText("apps:\n" + strings.Repeat("- key: x\n", 600))
	var e *Error
	if !errors.As(err, &e) || len(e.Faults) != 1200 {
		t.Fatalf("got %v", err)
	}
	text := e.Error()
	if n := strings.Count(text, "\n"); n != maxFaultsText+1 || !strings.HasSuffix(text, "\n  and 1100 more") {
		t.Errorf("%d lines, ending in %q", n+1, text[len(text)-20:])
	}
}

// No error and no warning shows a secret, wherever in a broken file it stands.
func TestErrorsHoldNoSecret(t *testing.T) {
	const secret = "b1lling-Secret-0001"
	dir := t.TempDir()
	write(t, filepath.Join(dir, "loose"), secret+"\n", 0o644)
	write(t, filepath.Join(dir, "bad"), "!"+secret+"!", 0o644)
	for _, text := range []string{
		// where the syntax breaks
		"apps:\n- key: app-0001\n  secret: S: x\n",
		"apps:\n- key: app-0001\n  secret: \"S\n",
		"apps:\n- key: app-0001\n  secret: 'S\n  name: x\n",
		"apps:\n- key: app-0001\n  secret: S: S: S\n",
		"apps:\n- key: app-0001\n   secret: S\n",
		"apps:\n- key: app-0001\n secret: S\n",
		"apps:\n- key: app-0001\n\tsecret: S\n",
		"apps:\n- key: app-0001\n  secret: @S\n",
		"apps:\n- key: app-0001\n  secret: `S`\n",
		"apps:\n- key: app-0001\n  secret: %S\n",
		"apps:\n- key: app-0001\n  secret: [S\n",
		"apps:\n- key: app-0001\n  secret: {S\n",
		"apps:\n- key: app-0001\n  secret: *S\n",
		"apps:\n- key: app-0001\n  secret: \"\\x S\"\n",
		"apps:\n- key: app-0001\n  secret\n  S\n",
		"apps:\n- key: app-0001\n  secret S\n",
		"apps:\n- key: app-0001\nS\n",
		"S\n", "S: S\n", "apps: S\n", "apps: {S: S}\n", "apps: [S]\n", "apps: [[S]]\n", "apps: [{S: S}]\n",
		"%S\n---\napps: []\n", "--- S\n--- S\n",
		// wrong types
		"apps:\n- key: app-0001\n  secret: {S: S}\n",
		"apps:\n- key: app-0001\n  secret: [S, S]\n",
		"apps:\n- key: app-0001\n  secret: !S S\n",
		"apps:\n- key: app-0001\n  secret: &S S\n",
		"apps:\n- key: app-0001\n  secret: |\n    S\n    S\n",
		"apps:\n- key: app-0001\n  secret: ' S'\n",
		// in the wrong place
		"apps:\n- key: ' S'\n  secret: S\n",
		"apps:\n- {key: app-0001, name: \"S\\n\", secret: S, S: S, secret: S}\n",
		"apps:\n- {key: app-0001, secret_file: S}\n",
		"apps:\n- {key: app-0001, secret_hash: S}\n",
		"apps:\n- {key: app-0001, secret_hash: 'hmac-sha256:S'}\n",
		"apps:\n- {key: app-0001, secret_file: bad}\n",
		"apps:\n- {key: app-0001, secret_file: loose}\n",
		"apps:\n- {key: app-0001, secret: S}\n",
		"apps:\n- {key: app-0001, secret: S, secret_file: loose}\n",
		"apps:\n- {key: app-0001, secret: S, scopes: S, roles: S, access_ttl: S, refresh_ttl: S, state: S, trusted_ips: S, generation: S}\n",
		"apps:\n- {key: app-0001, secret: S, scopes: ['S S'], roles: [S], trusted_ips: [S, S/8]}\n",
		"apps:\n- ? S\n  : S\n",
	} {
		text = strings.ReplaceAll(text, "S", secret)
		path := write(t, filepath.Join(dir, "apps.yaml"), text, 0o644)
		f, err := Read(path, testPepper, nil)
		if err == nil && len(f.Exposed) == 0 {
			t.Errorf("no fault, and no secret seen, in\n%s", text)
		}
		said := fmt.Sprintf("%v %+v %#v %v", err, err, err, f.Exposed)
		if strings.Contains(said, secret) || strings.Contains(said, secret[1:9]) {
			t.Errorf("the secret shows in %s\nof\n%s", said, text)
		}
	}
}

func TestReadSecretFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "secrets", "unix"), "s3cret-unix\n", 0o600)
	write(t, filepath.Join(dir, "secrets", "dos"), "s3cret-dos\r\n", 0o600)
	bare := write(t, filepath.Join(dir, "secrets", "bare"), "s3cret-bare", 0o600)
	write(t, filepath.Join(dir, "secrets", "longest"), strings.Repeat("s", app.MaxSecretLen)+"\r\n", 0o600)
	path := write(t, filepath.Join(dir, "apps.yaml"), `apps:
- {key: app-unix, secret_file: secrets/unix}
- {key: app-dos1, secret_file: secrets/dos}
- {key: app-bare, secret_file: `+bare+`}
- {key: app-long, secret_file: secrets/longest}
- {key: app-again, secret_file: secrets/unix}
`, 0o644)
	var watched []string
	f, err := Read(path, testPepper, func(path string) { watched = append(watched, path) })
	if err != nil {
		t.Fatal(err)
	}
	var got []app.SecretHash
	for _, a := range f.Apps {
		got = append(got, a.Secrets[0].Hash)
	}
	var want []app.SecretHash
	for _, s := range []string{"s3cret-unix", "s3cret-dos", "s3cret-bare", strings.Repeat("s", app.MaxSecretLen), "s3cret-unix"} {
		want = append(want, testPepper.Hash(s))
	}
	if !slices.Equal(got, want) {
		t.Error("the hashes are not those of the files")
	}
	in := func(name string) string { return filepath.Join(dir, "secrets", name) }
	if diff := cmp.Diff([]string{path, in("unix"), in("dos"), in("bare"), in("longest"), in("unix")}, watched); diff != "" {
		t.Error(diff)
	}
	if len(f.Exposed) != 0 {
		t.Errorf("a readable apps file without a secret in it is exposed: %v", f.Exposed)
	}
}

func TestReadBadSecretFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "two-lines"), "s3cret-0\n\n", 0o600)
	write(t, filepath.Join(dir, "empty"), "", 0o600)
	write(t, filepath.Join(dir, "long"), strings.Repeat("s", app.MaxSecretLen+3), 0o600)
	path := write(t, filepath.Join(dir, "apps.yaml"), `apps:
- {key: app-0001, secret_file: two-lines}
- {key: app-0002, secret_file: empty}
- {key: app-0003, secret_file: long}
- {key: app-0004, secret_file: .}
- {key: app-0005, secret_file: none}
`, 0o600)
	watched := 0
	_, err := Read(path, testPepper, func(string) { watched++ })
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	const shape = "what the file holds must be 8 to 128 of A-Z, a-z, 0-9 and -_!@#$%, starting with a letter or a digit"
	if diff := cmp.Diff([]string{
		"line 2: app app-0001: secret_file: " + shape,
		"line 3: app app-0002: secret_file: " + shape,
		"line 4: app app-0003: secret_file: the file it names can't be read: longer than 130 bytes",
		"line 5: app app-0004: secret_file: the file it names can't be read: not a regular file",
		"line 6: app app-0005: secret_file: the file it names can't be read: no such file or directory",
	}, e.Faults); diff != "" {
		t.Error(diff)
	}
	if watched != 1+5 {
		t.Errorf("%d files to watch for a fix instead of 6", watched)
	}
}

func TestReadUnreadable(t *testing.T) {
	_, err := Read(filepath.Join(t.TempDir(), "none.yaml"), testPepper, nil)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "reading the apps file: ") {
		t.Errorf("got %v", err)
	}
	if _, err = Read(t.TempDir(), testPepper, nil); err == nil || !strings.HasSuffix(err.Error(), "not a regular file") {
		t.Errorf("of a directory: %v", err)
	}
}

func TestReadFindsExposedSecrets(t *testing.T) {
	for _, tt := range []struct {
		mode    fs.FileMode
		exposed bool
	}{{0o600, false}, {0o400, false}, {0o620, false}, {0o640, true}, {0o604, true}, {0o644, true}} {
		dir := t.TempDir()
		secret := write(t, filepath.Join(dir, "secret"), "s3cret-0", tt.mode)
		path := write(t, filepath.Join(dir, "apps.yaml"),
			"apps:\n- {key: app-0001, secret: s3cret-0}\n- {key: app-0002, secret_file: secret}\n- {key: app-0003, secret_file: secret}\n", tt.mode)
		f, err := Read(path, testPepper, nil)
		if err != nil {
			t.Fatal(err)
		}
		var want []Exposed
		if tt.exposed {
			want = []Exposed{{secret, tt.mode}, {path, tt.mode}}
		}
		if diff := cmp.Diff(want, f.Exposed); diff != "" {
			t.Errorf("mode %04o: %s", tt.mode, diff)
		}
	}
}

// A file is refused, whatever is in it, with nothing but a *Error, and what
// is accepted keeps the promises of App.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		example, "", "apps:", "apps: []", "apps: [{}]", "apps:\n-\n", "apps:\n- key: &a app-0001\n  secret: *a\n",
		"apps:\n- {key: app-0001, secret_file: good, roles: [introspect], trusted_ips: ['::ffff:10.0.0.0/104', ::1]}\n",
		"apps:\n- {key: app-0001, secret_hash: " + testPepper.Hash("s3cret-0").String() + ", state: frozen, generation: 7}\n",
		"apps:\n- {<<: {key: x}, ? y : z, access_ttl: 90s, refresh_ttl: 1h30m}\n", "--- |\n x\n--- >\n", "%YAML 1.2\n---\n\"",
		"apps:\r\n- key: app-0001\r\n  secret: >-\r\n    s3cret-0\r\n", "a: [{b: 'c", "!!binary x", "? ? ?", "{[}]", "- - - -",
	} {
		f.Add([]byte(s))
	}
	files := func(path string) ([]byte, fs.FileMode, error) {
		if path == "good" {
			return []byte("s3cret-0\n"), 0o600, nil
		}
		return noFiles(path)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parse("apps.yaml", data, 0o600, testPepper, files)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(e.Faults) == 0 || len(got.Apps) > 0 {
				t.Errorf("got %d apps and %v", len(got.Apps), err)
			}
			return
		}
		if _, err := app.NewRegistry(testPepper, got.Apps); err != nil {
			t.Error(err)
		}
		for _, a := range got.Apps {
			ttlFits := func(d time.Duration) bool {
				return d == 0 || d >= app.MinTTL && d <= app.MaxTTL && d%time.Second == 0
			}
			if !app.ValidKey(a.Key) || !ttlFits(a.AccessTTL) || !ttlFits(a.RefreshTTL) ||
				len(strings.Join(a.Scopes, " ")) > app.MaxScopeLen || slices.Contains(a.Scopes, "default") {
				t.Errorf("accepted %+v", a)
			}
			for i, s := range a.Scopes {
				if !app.ValidScope(s) || slices.Contains(a.Scopes[:i], s) {
					t.Errorf("accepted scope %q", s)
				}
			}
			for _, p := range a.TrustedIPs {
				if !p.IsValid() || p.Masked() != p || p.Addr().Is4In6() {
					t.Errorf("accepted network %v", p)
				}
			}
		}
	})
}
