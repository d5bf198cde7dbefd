package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"authsvc/internal/app"
	"authsvc/internal/store"
	"authsvc/internal/token"
)

// Config holds the checked settings of authsvc serve. Unless noted otherwise, an empty
// string means not set. Relative paths are relative to the working directory, wherever
// they were set.
type Config struct {
	Listen      string // host:port of the public endpoints
	AdminListen string // host:port of health and metrics; never that of Listen

	Store         store.Target // without faults; a secret, as it may hold passwords
	AllowEviction bool         // start although Redis may drop live tokens

	Apps string // the apps file
	Keys string // the keyring

	AccessTTL    time.Duration // whole seconds, token.MinTTL to token.MaxTTL
	RefreshTTL   time.Duration // the same
	RefreshGrace time.Duration // MinGrace to MaxGrace
	StoreTimeout time.Duration // of all calls for one request; 10 ms to 10 s

	Issuer         string         // absolute URL without a trailing slash; never empty
	IssuerDerived  bool           // Issuer was not set, and follows from Listen
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is trusted

	TLSCert string // PEM file; with TLSKey, Listen uses TLS
	TLSKey  string

	MaxConnections int // places for connections; 0: as many as fit into the memory

	Drain            time.Duration // for requests in flight at shutdown; 0 to 10 min
	IntrospectReason bool          // whether introspection says why a token is not active
	LogLevel         slog.Level

	TraceEndpoint string  // URL that traces are sent to, with its path; empty: no traces
	TraceSample   float64 // the share of the traces beginning here that is recorded, 0 to 1
	Pprof         bool    // profiles at AdminListen

	// Files are the files of the service: those above, the one of the settings, and those
	// that hold the values of settings.
	Files []string

	// Dev keeps everything in memory: Store is then Memory, and Apps and Keys are
	// empty.
	Dev bool
}

// MinGrace and MaxGrace bound the refresh grace. Without a grace, every lost reply would
// cost a login; with less than a second, so would every one over a slow network. Half of
// it is the longest Retry-After of a refresh while the store is unavailable, in whole
// seconds. At the other end, the replay of a stolen refresh token raises no alarm during
// the grace, and no client retries for longer than ten minutes.
const (
	MinGrace = 2 * time.Second
	MaxGrace = 10 * time.Minute
)

// Register adds the flags of authsvc serve to fs. It holds the only list of settings.
func Register(fs *pflag.FlagSet) *Settings {
	s := &Settings{}
	c := &s.cfg
	text := func(name, def, usage string, parse func(string) error) *setting {
		return s.add(fs, &setting{name: name, kind: textKind, def: def, usage: usage, parse: one(parse)})
	}
	duration := func(name string, def time.Duration, usage string, to *time.Duration, least, most, unit time.Duration) {
		st := text(name, short(def), usage, durationOf(to, least, most, unit))
		st.kind = durationKind
	}
	boolean := func(name string, def bool, usage string, to *bool) {
		s.add(fs, &setting{name: name, kind: boolKind, def: strconv.FormatBool(def), usage: usage, parse: one(boolOf(to))})
	}

	text("config", "", "YAML `FILE` of settings", func(string) error { return nil }).notInFile = true
	text("listen", "127.0.0.1:8080", "`HOST:PORT` of the public endpoints", addressOf(&c.Listen))
	text("admin-listen", "127.0.0.1:8081", "`HOST:PORT` of health and metrics", addressOf(&c.AdminListen))

	text("store", "", "`URL` of the token store, as in redis://127.0.0.1:6379/0", targetOf(&c.Store)).secret = true
	text("store-password", "", "`PASSWORD` of Redis, if the URL has none", otherPasswordOf(&c.Store)).secret = true
	text("store-sentinel-user", "", "`USER` for the Sentinels of a redis+sentinel:// store", textOf(&c.Store.SentinelUser))
	text("store-sentinel-password", "", "`PASSWORD` for the Sentinels", textOf(&c.Store.SentinelPassword)).secret = true
	text("store-prefix", store.DefaultPrefix, "`PREFIX` of each key in Redis", checkedOf(&c.Store.Prefix, store.CheckPrefix))
	text("store-ca", "", "PEM `FILE` of the certificate authority of a store with TLS", textOf(&c.Store.CAFile))
	text("store-cert", "", "PEM `FILE` of the client certificate for a store with TLS", textOf(&c.Store.CertFile))
	text("store-key", "", "PEM `FILE` of its key", textOf(&c.Store.KeyFile))
	boolean("allow-eviction", false, "start even if Redis is configured to drop live tokens when it is full", &c.AllowEviction)
	text("apps", "", "YAML `FILE` of the apps", textOf(&c.Apps))
	text("keys", "", "keyring `FILE`, created by authsvc keys init", textOf(&c.Keys))

	duration("access-ttl", token.DefaultAccessTTL, "lifetime of an access token", &c.AccessTTL, token.MinTTL, token.MaxTTL, time.Second)
	duration("refresh-ttl", token.DefaultRefreshTTL, "lifetime of a refresh token", &c.RefreshTTL, token.MinTTL, token.MaxTTL, time.Second)
	duration("refresh-grace", token.DefaultGrace, "for how long a repeated refresh gets the same tokens", &c.RefreshGrace, MinGrace, MaxGrace, 1)
	duration("store-timeout", 300*time.Millisecond, "how long a request waits for the store, in all; at least ten round trips to Redis", &c.StoreTimeout, 10*time.Millisecond, 10*time.Second, 1)

	text("issuer", "", "`URL` under which clients reach this service (default http(s)://LISTEN)", issuerOf(&c.Issuer))
	s.add(fs, &setting{
		name: "trusted-proxies", kind: listKind, parse: networksOf(&c.TrustedProxies),
		usage: "`NETWORKS` of proxies whose X-Forwarded-For is trusted, separated by commas",
	})
	text("tls-cert", "", "PEM `FILE` of the server certificate", textOf(&c.TLSCert))
	text("tls-key", "", "PEM `FILE` of its key", textOf(&c.TLSKey))

	text("max-connections", "", "`NUMBER` of connections to the public listener; with TLS each counts as 2, with HTTP/2 as 42 (default: what fits into the memory limit)", numberOf(&c.MaxConnections, 64, 1_000_000)).kind = numberKind
	duration("drain", 10*time.Second, "time to finish requests in flight when stopping", &c.Drain, 0, 10*time.Minute, 1)
	boolean("introspect-reason", true, "say in introspections why a token is not active", &c.IntrospectReason)
	text("log-level", "info", "`LEVEL` of the log: debug, info, warn or error", levelOf(&c.LogLevel))
	text("trace-endpoint", "", "`URL` of an OTLP/HTTP receiver to send traces to, as in http://127.0.0.1:4318; without it, there are no traces", traceOf(&c.TraceEndpoint))
	text("trace-sample", "1", "`RATIO` of requests to trace, unless a trusted proxy decides", ratioOf(&c.TraceSample)).kind = numberKind
	boolean("pprof", false, "serve profiles at /debug/pprof/ on the admin listener", &c.Pprof)
	boolean("dev", false, "try out authsvc: everything in memory, with a demo app and a demo gateway, nothing kept", &c.Dev)
	return s
}

// check applies the rules that concern more than one setting, once each is parsed.
func (s *Settings) check() {
	c := &s.cfg
	if s.given("dev") && c.Dev {
		if !s.given("store") {
			c.Store.Memory = true
		}
		for _, name := range []string{"store", "apps", "keys"} {
			if s.given(name) {
				s.fault("%s: can't go with %s, which keeps everything in memory; leave one of them out", s.label(name), s.label("dev"))
			}
		}
	} else if s.good("dev") {
		for _, m := range []struct{ name, how string }{
			{"store", "say where tokens are kept, with --store redis://127.0.0.1:6379/0 or the like"},
			{"apps", "name the YAML file of the apps, such as\n" + exampleApps},
			{"keys", `make the keyring with "authsvc keys init --keys keys.json", and give --keys keys.json`},
		} {
			if !s.given(m.name) {
				s.fault("--%s is missing (--dev does without, to try authsvc out): %s", m.name, m.how)
			}
		}
	}

	s.checkStore()
	s.together("tls-cert", "tls-key")
	if s.given("trace-sample") && !s.given("trace-endpoint") {
		s.fault("%s: can only be used with --trace-endpoint", s.label("trace-sample"))
	}
	if s.good("listen", "admin-listen") && c.Listen == c.AdminListen && !strings.HasSuffix(c.Listen, ":0") {
		s.fault("%s: is the address of %s too; they need one each", s.label("admin-listen"), s.label("listen"))
	}

	if s.good("refresh-ttl", "refresh-grace") && c.RefreshTTL < c.RefreshGrace {
		s.warn("%s: a refresh token's life of %s is shorter than the grace of %s, so the retry of a refresh can come too late (APIG.1001)",
			s.label("refresh-ttl"), short(c.RefreshTTL), short(c.RefreshGrace))
	}
	if s.good("access-ttl", "refresh-grace") && c.AccessTTL < c.RefreshGrace {
		s.warn("%s: an access token's life of %s is shorter than the grace of %s, so the retry of a refresh can get another access token than the refresh",
			s.label("access-ttl"), short(c.AccessTTL), short(c.RefreshGrace))
	}
	if s.given("store") && c.Store.Memory {
		s.warn("%s: tokens kept in memory are gone when the process ends, and no other replica knows them", s.label("store"))
	}
}

// storeSettings holds the name of the setting for each part of a store.
var storeSettings = map[store.Part]string{
	store.URL: "store", store.Password: "store-password", store.SentinelUser: "store-sentinel-user", store.SentinelPassword: "store-sentinel-password",
	store.Prefix: "store-prefix", store.CAFile: "store-ca", store.CertFile: "store-cert", store.KeyFile: "store-key",
}

// checkStore reports faults in the combination of the store's settings.
func (s *Settings) checkStore() {
	for _, f := range s.cfg.Store.Faults(func(p store.Part) string { return "--" + storeSettings[p] }) {
		of, missing := storeSettings[f.Part], storeSettings[f.Missing]
		if s.given(of) && s.good(of, missing) { // otherwise it was reported as missing or bad
			s.fault("%s: %s", s.label(of), f.What)
		}
	}
	if s.cfg.Store.Memory && s.given("allow-eviction") {
		s.fault("%s: can only be used with a store in Redis", s.label("allow-eviction"))
	}
}

const exampleApps = `    apps:
      - key: my-first-app
        secret: at-least-8-Characters
        scopes: [orders.read]`

// derive sets what depends on other settings.
func (s *Settings) derive() {
	c := &s.cfg
	if c.Issuer == "" {
		c.IssuerDerived = true
		c.Issuer = DefaultIssuer(c.Listen, c.TLSCert != "")
		s.byName("issuer").values = []string{c.Issuer}
	}
	for _, file := range []string{c.Apps, c.Keys, c.TLSCert, c.TLSKey, c.Store.CAFile, c.Store.CertFile, c.Store.KeyFile} {
		if file != "" {
			c.Files = append(c.Files, file)
		}
	}
}

// DefaultIssuer returns the issuer of a service that listens on an address, as seen by a
// client on the same machine. A service on port 0 knows its address only once it
// listens.
func DefaultIssuer(listen string, tls bool) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if tls {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// together reports if one of two settings was given without the other.
func (s *Settings) together(a, b string) {
	if s.given(b) {
		a, b = b, a
	}
	if s.given(a) && !s.given(b) {
		s.fault("%s: needs --%s with it", s.label(a), b)
	}
}

// The parsers of values. Their errors quote no value: the setting's name is enough, and
// a misplaced value may be a secret.

// one returns the parser of a setting that has one value.
func one(parse func(string) error) func([]string) error {
	return func(values []string) error { return parse(values[0]) }
}

func textOf(to *string) func(string) error {
	return func(s string) error {
		*to = s
		return nil
	}
}

func boolOf(to *bool) func(string) error {
	return func(s string) (err error) {
		if *to, err = strconv.ParseBool(s); err != nil {
			return errors.New("must be true or false")
		}
		return nil
	}
}

// durationOf returns a parser of durations from least to most, in whole units.
func durationOf(to *time.Duration, least, most, unit time.Duration) func(string) error {
	return func(s string) error {
		d, err := time.ParseDuration(s)
		whole := ""
		if unit == time.Second {
			whole = "whole seconds "
		}
		switch {
		case err != nil:
			return errors.New("must be a duration with a unit, as in 300ms, 90s or 1h")
		case d < least || d > most || d%unit != 0:
			return fmt.Errorf("must be %sfrom %s to %s", whole, short(least), short(most))
		}
		*to = d
		return nil
	}
}

// short formats a duration without the trailing zeros of Duration.String.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func addressOf(to *string) func(string) error {
	return func(s string) error {
		_, port, err := net.SplitHostPort(s)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return errors.New("must be HOST:PORT with a port from 0 to 65535, as in 127.0.0.1:8080 or :8080")
		}
		*to = s
		return nil
	}
}

// targetOf returns a parser of the store's URL. It runs before the parsers of the other
// settings of the store, which set the rest of the target.
func targetOf(to *store.Target) func(string) error {
	return func(url string) (err error) {
		*to, err = store.ParseTarget(url)
		return err
	}
}

func otherPasswordOf(to *store.Target) func(string) error {
	return func(password string) error {
		if to.Password != "" {
			return errors.New("the URL of the store holds a password already; leave one of them out")
		}
		to.Password = password
		return nil
	}
}

// checkedOf returns a parser of text that must pass a check, whose errors quote no part
// of it.
func checkedOf(to *string, check func(string) error) func(string) error {
	return func(s string) error {
		if err := check(s); err != nil {
			return err
		}
		*to = s
		return nil
	}
}

func issuerOf(to *string) func(string) error { return urlOf(to, "https://auth.example.com") }

// traceOf returns a parser of the URL that traces are sent to. Some of OpenTelemetry's
// own settings name the receiver, and some its path for traces; both are accepted. It is
// not a secret, as it allows no user and no query.
func traceOf(to *string) func(string) error {
	const path = "/v1/traces"
	receiver := urlOf(to, "http://127.0.0.1:4318")
	return func(s string) error {
		if err := receiver(s); err != nil {
			return err
		}
		*to = strings.TrimSuffix(*to, path) + path
		return nil
	}
}

func ratioOf(to *float64) func(string) error {
	return func(s string) error {
		ratio, err := strconv.ParseFloat(s, 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) { // which excludes NaN
			return errors.New("must be a number from 0 to 1, as in 0.1")
		}
		*to = ratio
		return nil
	}
}

// numberOf returns a parser of whole numbers from least to most.
func numberOf(to *int, least, most int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("must be a whole number from %d to %d", least, most)
		}
		*to = n
		return nil
	}
}

// urlOf returns a parser of URLs, which are stored without a trailing slash.
func urlOf(to *string, example string) func(string) error {
	return func(s string) error {
		u, err := url.Parse(s)
		odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '?' || r == '#' }
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.ContainsFunc(s, odd) {
			return errors.New("must be an http:// or https:// URL with a host, and without a user, a query and a fragment, as in " + example)
		}
		*to = strings.TrimRight(u.String(), "/")
		return nil
	}
}

func networksOf(to *[]netip.Prefix) func([]string) error {
	return func(values []string) error {
		var faults []string
		var networks []netip.Prefix
		for i, v := range values {
			p, err := app.ParseNetwork(v)
			if err != nil {
				faults = append(faults, fmt.Sprintf("entry %d %s", i+1, err))
			}
			networks = append(networks, p)
		}
		if len(faults) > 0 {
			return errors.New(strings.Join(faults, "; "))
		}
		*to = networks
		return nil
	}
}

func levelOf(to *slog.Level) func(string) error {
	return func(s string) error {
		i := slices.Index([]string{"debug", "info", "warn", "error"}, s)
		if i < 0 {
			return errors.New("must be debug, info, warn or error")
		}
		*to = []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}[i]
		return nil
	}
}
