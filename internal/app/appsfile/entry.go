package appsfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"authsvc/internal/app"
	"authsvc/internal/strictyaml"
)

// entryNames are the fields that an entry of the apps file may have.
var entryNames = []string{
	"key", "name", "secret", "secret_file", "secret_hash", "scopes", "roles",
	"access_ttl", "refresh_ttl", "state", "trusted_ips", "generation",
}

// entry is one app of the file, before it becomes an App.
type entry struct {
	*fileParser
	label  string // for faults
	line   int
	fields map[string]strictyaml.Field
}

// app parses the nth entry of the file, counted from 1, and reports its faults.
func (p *fileParser) app(nth int, v strictyaml.Value) {
	e := &entry{fileParser: p, label: fmt.Sprintf("app %d", nth), line: v.Line()}
	var ok bool
	if e.fields, ok = p.mapping(v, e.label, entryNames...); !ok {
		return
	}
	var a app.App
	a.Key = e.key()
	a.Name = e.name()
	a.Secrets = []app.Secret{{Hash: e.secret()}}
	a.Scopes = e.scopes()
	a.Roles = e.roles()
	a.AccessTTL = e.ttl("access_ttl")
	a.RefreshTTL = e.ttl("refresh_ttl")
	a.Frozen = e.frozen()
	a.TrustedIPs = e.trustedIPs()
	a.Generation = e.generation()
	p.file.Apps = append(p.file.Apps, a)
}

// wrong reports a fault of the entry.
func (e *entry) wrong(line int, name, format string, args ...any) {
	e.fault(line, "%s: %s: %s", e.label, name, fmt.Sprintf(format, args...))
}

// text returns the text of a field and whether there is one. It reports a field that is
// not text.
func (e *entry) text(name string) (string, bool) {
	f, given := e.fields[name]
	if !given {
		return "", false
	}
	s, err := f.Text()
	if err != nil {
		e.wrong(f.Line(), name, "%s", err)
		return "", false
	}
	return s, true
}

// list calls add with each text of a field that is a list, and reports the errors of add.
func (e *entry) list(name string, add func(item string) error) {
	f, given := e.fields[name]
	if !given {
		return
	}
	if f.Kind() != strictyaml.List {
		e.wrong(f.Line(), name, "must be a list, such as [one, two]; leave it out for none")
		return
	}
	for i, item := range f.Items() {
		s, err := item.Text()
		if err == nil {
			err = add(s)
		}
		if err != nil {
			e.wrong(item.Line(), fmt.Sprintf("%s, entry %d", name, i+1), "%s", err)
		}
	}
}

func (e *entry) key() string {
	f, given := e.fields["key"]
	if !given {
		e.fault(e.line, "%s: key is missing", e.label)
		return ""
	}
	key, ok := e.text("key")
	switch first := e.lines[key]; {
	case !ok:
		return ""
	case !app.ValidKey(key):
		e.wrong(f.Line(), "key", "must be %d to %d of A-Z, a-z, 0-9, - and _, starting with a letter or a digit", app.MinKeyLen, app.MaxKeyLen)
		return ""
	case first != 0:
		e.wrong(f.Line(), "key", "the app in line %d has the same key", first)
	default:
		e.lines[key] = f.Line()
	}
	e.label = "app " + key
	return key
}

func (e *entry) name() string {
	name, ok := e.text("name")
	if ok && (utf8.RuneCountInString(name) > maxNameLen || strings.ContainsFunc(name, unicode.IsControl)) {
		e.wrong(e.fields["name"].Line(), "name", "must be one line of at most %d characters", maxNameLen)
	}
	return name
}

// secret returns the hash of the app's secret, from whichever of three fields has it.
func (e *entry) secret() (h app.SecretHash) {
	var from []string
	for _, name := range []string{"secret", "secret_file", "secret_hash"} {
		if _, given := e.fields[name]; given {
			from = append(from, name)
		}
	}
	switch len(from) {
	case 0:
		e.fault(e.line, "%s: has no secret; give one of secret, secret_file and secret_hash", e.label)
		return h
	case 1:
	default:
		e.fault(e.line, "%s: has %s; give one of them only", e.label, strings.Join(from, " and "))
	}
	for _, name := range from {
		text, ok := e.text(name)
		if !ok {
			continue
		}
		line, err := e.fields[name].Line(), error(nil)
		switch name {
		case "secret":
			e.holdsSecret = true
			h, err = e.hash(text)
		case "secret_file":
			h, err = e.secretFile(text)
		case "secret_hash":
			h, err = app.ParseSecretHash(text)
		}
		if err != nil {
			e.wrong(line, name, "%s", err)
		}
	}
	return h
}

func (e *entry) hash(secret string) (app.SecretHash, error) {
	if !app.ValidSecret(secret) {
		return app.SecretHash{}, fmt.Errorf("must be %d to %d of A-Z, a-z, 0-9 and -_!@#$%%, starting with a letter or a digit",
			app.MinSecretLen, app.MaxSecretLen)
	}
	return e.pepper.Hash(secret), nil
}

// secretFile reads a secret from a file. The path of a file that can't be read is not
// quoted: it may be a misplaced secret.
func (e *entry) secretFile(path string) (app.SecretHash, error) {
	if path == "" {
		return app.SecretHash{}, errors.New("is empty")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(e.path), path)
	}
	first := !e.seen[path]
	e.seen[path] = true
	data, mode, err := e.read(path)
	if err != nil {
		if at := (*fs.PathError)(nil); errors.As(err, &at) {
			err = at.Err
		}
		return app.SecretHash{}, fmt.Errorf("the file it names can't be read: %w", err)
	}
	if first {
		e.file.SecretFiles = append(e.file.SecretFiles, path)
	}
	if first && mode&0o044 != 0 {
		e.file.Exposed = append(e.file.Exposed, Exposed{path, mode})
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	h, err := e.hash(secret)
	if err != nil {
		err = fmt.Errorf("what the file holds %w", err)
	}
	return h, err
}

func (e *entry) scopes() []string {
	var scopes []string
	e.list("scopes", func(s string) error {
		switch {
		case !app.ValidScope(s):
			return errors.New(`must be printable ASCII without spaces, " and \ (RFC 6749 section 3.3)`)
		case s == "default":
			return errors.New("no scope may be named default: a client that asks for it asks for all")
		case slices.Contains(scopes, s):
			return errors.New("duplicate")
		}
		scopes = append(scopes, s)
		return nil
	})
	if len(strings.Join(scopes, " ")) > app.MaxScopeLen {
		e.wrong(e.fields["scopes"].Line(), "scopes", "must be at most %d bytes when joined with spaces", app.MaxScopeLen)
	}
	return scopes
}

func (e *entry) roles() []string {
	var roles []string
	e.list("roles", func(s string) error {
		switch {
		case s != app.RoleIntrospect:
			return errors.New("unknown role; there is only " + app.RoleIntrospect)
		case slices.Contains(roles, s):
			return errors.New("duplicate")
		}
		roles = append(roles, s)
		return nil
	})
	return roles
}

func (e *entry) ttl(name string) time.Duration {
	f := e.fields[name]
	if f.Kind() == strictyaml.Int {
		e.wrong(f.Line(), name, "must have a unit, as in 3600s or 1h")
		return 0
	}
	s, ok := e.text(name)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		e.wrong(f.Line(), name, "must be a duration, as in 90s, 30m or 1h")
	case d < app.MinTTL || d > app.MaxTTL || d%time.Second != 0:
		e.wrong(f.Line(), name, "must be whole seconds from %s to %s (%ds); leave it out for the service's default", app.MinTTL, app.MaxTTL, app.MaxTTL/time.Second)
	}
	return d
}

func (e *entry) frozen() bool {
	s, ok := e.text("state")
	if ok && s != "active" && s != "frozen" {
		e.wrong(e.fields["state"].Line(), "state", "must be active or frozen")
	}
	return s == "frozen"
}

func (e *entry) trustedIPs() []netip.Prefix {
	var networks []netip.Prefix
	e.list("trusted_ips", func(s string) error {
		p, err := app.ParseNetwork(s)
		networks = append(networks, p)
		return err
	})
	return networks
}

func (e *entry) generation() uint32 {
	f, given := e.fields["generation"]
	if !given {
		return 0
	}
	if g, ok := f.Uint(); ok && g <= math.MaxUint32 {
		return uint32(g)
	}
	e.wrong(f.Line(), "generation", "must be a whole number from 0 to %d", uint32(math.MaxUint32))
	return 0
}
