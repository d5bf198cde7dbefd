package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"authsvc/internal/store"
	"authsvc/internal/strictyaml"
)

// input is what a user gives. FILE in a flag or a variable stands for the path of
// the YAML file, and SECRET for that of a file that holds secret.
type input struct {
	flags  []string
	env    []string
	yaml   string
	secret string
}

// enough is what suffices to start.
var enough = []string{"--store=redis://127.0.0.1/0", "--apps=apps.yaml", "--keys=keys.json"}

// load loads the settings and, in what is said of them, puts FILE for the path
// of the YAML file.
func load(t *testing.T, in input) (s *Settings, c Config, warnings, faults []string) {
	t.Helper()
	dir := t.TempDir()
	file, secret := filepath.Join(dir, "authsvc.yaml"), filepath.Join(dir, "secret")
	for path, text := range map[string]string{file: in.yaml, secret: in.secret} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths := strings.NewReplacer("FILE=FILE", "FILE="+file, "=FILE", "="+file, "=SECRET", "="+secret)
	fill := func(list []string) (filled []string) {
		for _, s := range list {
			filled = append(filled, paths.Replace(s))
		}
		return filled
	}
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	s = Register(fs)
	if err := fs.Parse(fill(in.flags)); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := s.Load(fill(in.env))
	if e := (*Error)(nil); errors.As(err, &e) {
		faults = e.Faults
		if c.Listen != "" {
			t.Error("a Config came with the faults")
		}
	} else if err != nil {
		t.Fatalf("got %v instead of an *Error", err)
	}
	for i := range faults {
		faults[i] = strings.ReplaceAll(faults[i], file, "FILE")
	}
	for i := range warnings {
		warnings[i] = strings.ReplaceAll(warnings[i], file, "FILE")
	}
	return s, c, warnings, faults
}

func (in input) with(flags ...string) input {
	in.flags = slices.Concat(in.flags, flags)
	return in
}

var netipEqual = cmpopts.EquateComparable(netip.Prefix{})

func TestDefaults(t *testing.T) {
	_, got, warnings, faults := load(t, input{flags: enough})
	want := Config{
		Listen: "127.0.0.1:8080", AdminListen: "127.0.0.1:8081",
		Store: store.Target{Addrs: []string{"127.0.0.1:6379"}, Prefix: "authsvc:"}, Apps: "apps.yaml", Keys: "keys.json",
		AccessTTL: time.Hour, RefreshTTL: 2 * time.Hour, RefreshGrace: time.Minute,
		StoreTimeout: 300 * time.Millisecond, Issuer: "http://127.0.0.1:8080", IssuerDerived: true,
		Drain: 10 * time.Second, IntrospectReason: true, LogLevel: slog.LevelInfo, TraceSample: 1,
		Files: []string{"apps.yaml", "keys.json"},
	}
	if diff := cmp.Diff(want, got, netipEqual); diff != "" {
		t.Error(diff)
	}
	if len(warnings)+len(faults) > 0 {
		t.Errorf("%q %q", warnings, faults)
	}
}

// Every setting can be set from every source, and a higher one goes first.
func TestPrecedence(t *testing.T) {
	// A value for each source; base is what the setting needs beside it.
	tests := []struct {
		name             string
		file, env, flag  string // as written there
		base             []string
		get              func(Config) any
		fileV, envV, flV any
	}{
		{"listen", "':1'", ":2", ":3", enough, func(c Config) any { return c.Listen }, ":1", ":2", ":3"},
		{"admin-listen", "':1'", ":2", ":3", enough, func(c Config) any { return c.AdminListen }, ":1", ":2", ":3"},
		{"store", "redis://a", "redis://b", "rediss://c", enough[1:], func(c Config) any { return c.Store.String() }, "a:6379", "b:6379", "c:6379"},
		{"store-ca", "a", "b", "c", append([]string{"--store=rediss://a"}, enough[1:]...), func(c Config) any { return c.Store.CAFile }, "a", "b", "c"},
		{"store-cert", "a", "b", "c", append([]string{"--store=rediss://a", "--store-key=k"}, enough[1:]...), func(c Config) any { return c.Store.CertFile }, "a", "b", "c"},
		{"store-key", "a", "b", "c", append([]string{"--store=rediss://a", "--store-cert=k"}, enough[1:]...), func(c Config) any { return c.Store.KeyFile }, "a", "b", "c"},
		{"apps", "a", "b", "c", []string{enough[0], enough[2]}, func(c Config) any { return c.Apps }, "a", "b", "c"},
		{"keys", "a", "b", "c", enough[:2], func(c Config) any { return c.Keys }, "a", "b", "c"},
		{"access-ttl", "1s", "90s", "20h", enough, func(c Config) any { return c.AccessTTL }, time.Second, 90 * time.Second, 20 * time.Hour},
		{"refresh-ttl", "1h", "2h30m", "72000s", enough, func(c Config) any { return c.RefreshTTL }, time.Hour, 150 * time.Minute, 20 * time.Hour},
		{"refresh-grace", "2s", "2500ms", "10m", enough, func(c Config) any { return c.RefreshGrace }, 2 * time.Second, 2500 * time.Millisecond, 10 * time.Minute},
		{"store-password", "a", "b", "c", enough, func(c Config) any { return c.Store.Password }, "a", "b", "c"},
		{"store-sentinel-user", "a", "b", "c", append([]string{"--store=redis+sentinel://h/p", "--store-sentinel-password=p"}, enough[1:]...), func(c Config) any { return c.Store.SentinelUser }, "a", "b", "c"},
		{"store-sentinel-password", "a", "b", "c", append([]string{"--store=redis+sentinel://h/p"}, enough[1:]...), func(c Config) any { return c.Store.SentinelPassword }, "a", "b", "c"},
		{"store-prefix", "'a:'", "b:", "c:", enough, func(c Config) any { return c.Store.Prefix }, "a:", "b:", "c:"},
		{"allow-eviction", "false", "true", "true", enough, func(c Config) any { return c.AllowEviction }, false, true, true},
		{"store-timeout", "10ms", "1s", "10s", enough, func(c Config) any { return c.StoreTimeout }, 10 * time.Millisecond, time.Second, 10 * time.Second},
		{"issuer", "http://a", "https://b/x/", "https://[::1]:8443", enough, func(c Config) any { return c.Issuer }, "http://a", "https://b/x", "https://[::1]:8443"},
		{
			"trusted-proxies", "[10.0.0.0/8, '::1']", "192.0.2.1, 10.0.0.0/8", "::ffff:192.0.2.0/120", enough, func(c Config) any { return fmt.Sprint(c.TrustedProxies) },
			"[10.0.0.0/8 ::1/128]", "[192.0.2.1/32 10.0.0.0/8]", "[192.0.2.0/24]",
		},
		{"tls-cert", "a", "b", "c", append([]string{"--tls-key=k"}, enough...), func(c Config) any { return c.TLSCert }, "a", "b", "c"},
		{"tls-key", "a", "b", "c", append([]string{"--tls-cert=k"}, enough...), func(c Config) any { return c.TLSKey }, "a", "b", "c"},
		{"max-connections", "64", "500", "1000000", enough, func(c Config) any { return c.MaxConnections }, 64, 500, 1_000_000},
		{"drain", "0s", "1m", "10m", enough, func(c Config) any { return c.Drain }, time.Duration(0), time.Minute, 10 * time.Minute},
		{"introspect-reason", "false", "true", "false", enough, func(c Config) any { return c.IntrospectReason }, false, true, false},
		{"log-level", "debug", "warn", "error", enough, func(c Config) any { return c.LogLevel }, slog.LevelDebug, slog.LevelWarn, slog.LevelError},
		{
			"trace-endpoint", "http://a:4318", "https://b/otlp/", "http://c/v1/traces", enough, func(c Config) any { return c.TraceEndpoint },
			"http://a:4318/v1/traces", "https://b/otlp/v1/traces", "http://c/v1/traces",
		},
		{"trace-sample", "0.5", "0", "1", append([]string{"--trace-endpoint=http://a"}, enough...), func(c Config) any { return c.TraceSample }, 0.5, 0.0, 1.0},
		{"pprof", "false", "true", "false", enough, func(c Config) any { return c.Pprof }, false, true, false},
		{"dev", "true", "true", "true", nil, func(c Config) any { return c.Dev }, true, true, true},
	}
	var covered []string
	for _, tt := range tests {
		covered = append(covered, tt.name)
		t.Run(tt.name, func(t *testing.T) {
			key := strings.ReplaceAll(tt.name, "-", "_")
			variable := "AUTHSVC_" + strings.ToUpper(key)
			in := input{flags: append([]string{"--config=FILE"}, tt.base...)}
			for _, step := range []struct {
				origin Origin
				source string
				add    func()
				want   any
			}{
				{File, "FILE: line 2: " + key, func() { in.yaml = "# settings\n" + key + ": " + tt.file + "\n" }, tt.fileV},
				{Env, variable, func() { in.env = append(in.env, variable+"="+tt.env) }, tt.envV},
				{Flag, "--" + tt.name, func() { in = in.with("--" + tt.name + "=" + tt.flag) }, tt.flV},
			} {
				step.add()
				s, c, _, faults := load(t, in)
				if len(faults) > 0 {
					t.Fatalf("%s: %q", step.origin, faults)
				}
				if diff := cmp.Diff(step.want, tt.get(c)); diff != "" {
					t.Errorf("%s: %s", step.origin, diff)
				}
				all := s.All()
				got := all[slices.IndexFunc(all, func(s Setting) bool { return s.Name == tt.name })]
				if got.Origin != step.origin || !strings.HasSuffix(got.Source, strings.TrimPrefix(step.source, "FILE")) {
					t.Errorf("origin %s, source %s; want %s, %s", got.Origin, got.Source, step.origin, step.source)
				}
			}
		})
	}
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Register(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" && !slices.Contains(covered, f.Name) {
			t.Errorf("--%s is not tested", f.Name)
		}
	})
}

func TestConfigFlagGoesBeforeVariable(t *testing.T) {
	in := input{flags: enough, yaml: "listen: ':1'\n", env: []string{"AUTHSVC_CONFIG=FILE"}}
	if _, c, _, faults := load(t, in); c.Listen != ":1" {
		t.Errorf("AUTHSVC_CONFIG: listen %q, %q", c.Listen, faults)
	}
	if _, _, _, faults := load(t, in.with("--config=/none.yaml")); len(faults) != 1 {
		t.Errorf("--config: %q", faults)
	}
	if _, c, _, faults := load(t, in.with("--config=")); c.Listen != "127.0.0.1:8080" {
		t.Errorf("--config=: listen %q, %q", c.Listen, faults)
	}
}

// What an overridden source says is not looked at, but for its type.
func TestOverriddenIsNotLookedAt(t *testing.T) {
	in := input{
		flags: append([]string{"--drain=1s", "--config=FILE"}, enough...), yaml: "drain: soon\n",
		env: []string{"AUTHSVC_DRAIN=later", "AUTHSVC_STORE_FILE=/none"},
	}
	if _, c, _, faults := load(t, in); c.Drain != time.Second {
		t.Errorf("drain %s, %q", c.Drain, faults)
	}
	in.yaml = "drain: 1\n"
	if _, _, _, faults := load(t, in); len(faults) != 1 {
		t.Errorf("%q", faults)
	}
}

// A byte order mark and Windows line ends change nothing, and a file may say nothing.
func TestFileFromWindows(t *testing.T) {
	in := input{flags: append([]string{"--config=FILE"}, enough...), yaml: "\ufefflisten: ':1'\r\ntrusted_proxies:\r\n- '::1'\r\n"}
	if _, c, _, faults := load(t, in); c.Listen != ":1" || len(c.TrustedProxies) != 1 {
		t.Errorf("%+v %q", c, faults)
	}
	for _, yaml := range []string{"", "\r\n", "\ufeff", "---\n", "# none\n"} {
		in.yaml = yaml
		if _, c, _, faults := load(t, in); c.Listen != "127.0.0.1:8080" {
			t.Errorf("%q: %q", yaml, faults)
		}
	}
}

func TestBoolAndListFlags(t *testing.T) {
	for _, tt := range []struct {
		flags  []string
		env    []string
		dev    bool
		reason bool
		list   int
	}{
		{flags: []string{"--dev"}, dev: true, reason: true},
		{flags: []string{"--dev", "--introspect-reason"}, dev: true, reason: true},
		{flags: []string{"--dev", "--introspect-reason=false"}, dev: true, reason: false},
		{flags: []string{"--dev"}, env: []string{"AUTHSVC_INTROSPECT_REASON=0"}, dev: true, reason: false},
		{flags: append([]string{"--dev=false"}, enough...), env: []string{"AUTHSVC_DEV=1"}, dev: false, reason: true},
		{flags: []string{"--dev", "--trusted-proxies=10.0.0.0/8,::1", "--trusted-proxies", "192.0.2.1"}, dev: true, reason: true, list: 3},
		{flags: []string{"--dev", "--trusted-proxies="}, env: []string{"AUTHSVC_TRUSTED_PROXIES=::1"}, dev: true, reason: true, list: 0},
		{flags: []string{"--dev"}, env: []string{"AUTHSVC_TRUSTED_PROXIES="}, dev: true, reason: true, list: 0},
	} {
		_, c, _, faults := load(t, input{flags: tt.flags, env: tt.env})
		if c.Dev != tt.dev || c.IntrospectReason != tt.reason || len(c.TrustedProxies) != tt.list {
			t.Errorf("%q %q: %+v, %q", tt.flags, tt.env, c, faults)
		}
	}
}

// A compose file passes on what is not set as empty.
func TestEmptyVariableIsNotSet(t *testing.T) {
	_, c, _, faults := load(t, input{
		flags: append([]string{"--config=FILE"}, enough...), yaml: "drain: 1s\n",
		env: []string{"AUTHSVC_LISTEN=", "AUTHSVC_DRAIN=", "AUTHSVC_STORE_FILE="},
	})
	if c.Listen != "127.0.0.1:8080" || c.Drain != time.Second {
		t.Errorf("%+v %q", c, faults)
	}
}

// Port 0 is another port each time.
func TestPortZeroTwice(t *testing.T) {
	if _, c, _, faults := load(t, input{flags: append([]string{"--listen=:0", "--admin-listen=:0"}, enough...)}); c.AdminListen != ":0" {
		t.Errorf("%q", faults)
	}
}

func TestDev(t *testing.T) {
	_, c, warnings, faults := load(t, input{flags: []string{"--dev"}})
	if !c.Store.Memory || c.Apps != "" || c.Keys != "" || len(warnings)+len(faults) > 0 {
		t.Errorf("%+v %q %q", c, warnings, faults)
	}
}

func TestIssuerDefault(t *testing.T) {
	tls := []string{"--tls-cert=c", "--tls-key=k"}
	for _, tt := range []struct {
		listen string
		flags  []string
		want   string
	}{
		{"auth.example.com:80", nil, "http://auth.example.com:80"},
		{":8080", nil, "http://127.0.0.1:8080"},
		{"0.0.0.0:8080", nil, "http://127.0.0.1:8080"},
		{"[::]:8443", tls, "https://127.0.0.1:8443"},
		{"[2001:db8::1]:8080", nil, "http://[2001:db8::1]:8080"},
		{":8080", []string{"--issuer=https://auth.example.com//"}, "https://auth.example.com"},
	} {
		s, c, _, faults := load(t, input{flags: slices.Concat(enough, tt.flags, []string{"--listen=" + tt.listen})})
		if c.Issuer != tt.want {
			t.Errorf("%s: %q, %q", tt.listen, c.Issuer, faults)
		}
		if i := slices.IndexFunc(s.All(), func(s Setting) bool { return s.Name == "issuer" }); len(tt.flags) != 1 && s.All()[i].Value != tt.want {
			t.Errorf("shown as %q", s.All()[i].Value)
		}
	}
}

func TestSecretFile(t *testing.T) {
	rest := enough[1:]
	for text, want := range map[string]string{
		"redis://:pw@h/0":     "h:6379",
		"redis://:pw@h/0\n":   "h:6379",
		"redis://:pw@h/0\r\n": "h:6379",
		"redis://:pw@h/0\n\n": "", // only the newline at the end of a text file is no part of it
	} {
		s, c, _, faults := load(t, input{flags: rest, env: []string{"AUTHSVC_STORE_FILE=SECRET"}, secret: text})
		if c.Store.String() != want {
			t.Errorf("%q: %q, %q", text, c.Store, faults)
		}
		if got := s.All()[3]; got.Name != "store" || got.Value != "(secret)" || got.Origin != Env || got.Source != "AUTHSVC_STORE_FILE" {
			t.Errorf("shown as %+v", got)
		}
	}
}

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	const (
		duration = "must be a duration with a unit, as in 300ms, 90s or 1h"
		ttl      = "must be whole seconds from 1s to 20h"
		address  = "must be HOST:PORT with a port from 0 to 65535, as in 127.0.0.1:8080 or :8080"
		noScheme = "must be memory://, or a Redis: redis://, rediss:// (TLS), unix://, redis+sentinel:// or redis+cluster://"
		issuer   = "must be an http:// or https:// URL with a host, and without a user, a query and a fragment, as in https://auth.example.com"
		trace    = "must be an http:// or https:// URL with a host, and without a user, a query and a fragment, as in http://127.0.0.1:4318"
		network  = "must be an IP address, or a network such as 10.0.0.0/8 or 2001:db8::/32"
		syntax   = "not valid YAML from here on (column 9): look at the indentation, the colons and the quotes"
		dev      = "can't go with --dev, which keeps everything in memory; leave one of them out"
		rediss   = "can only be used with a rediss:// store (or rediss+sentinel, rediss+cluster)"
		tooDeep  = "lists and mappings nested more than 64 deep: look for a bracket that is not closed"
		form     = "must be of the form redis://user:password@host:port/db; in the user and the password, percent-encode what is not a letter or a digit"
		noStore  = "--store is missing (--dev does without, to try authsvc out): say where tokens are kept, with --store redis://127.0.0.1:6379/0 or the like"
		noApps   = `--apps is missing (--dev does without, to try authsvc out): name the YAML file of the apps, such as
    apps:
      - key: my-first-app
        secret: at-least-8-Characters
        scopes: [orders.read]`
		noKeys = `--keys is missing (--dev does without, to try authsvc out): make the keyring with "authsvc keys init --keys keys.json", and give --keys keys.json`
	)
	good := input{flags: enough}
	flag := good.with
	env := func(env ...string) input { return input{flags: enough, env: env} }
	file := func(yaml string) input { return input{flags: append([]string{"--config=FILE"}, enough...), yaml: yaml} }
	tests := []struct {
		name string
		in   input
		want string
	}{
		{"no store", input{flags: enough[1:]}, noStore},
		{"empty store", input{flags: enough[1:], env: []string{"AUTHSVC_STORE="}}, noStore},
		{"store taken back", good.with("--store="), noStore},
		{"no apps", input{flags: []string{enough[0], enough[2]}}, noApps},
		{"no keys", input{flags: enough[:2]}, noKeys},

		{"too few connections", flag("--max-connections=63"), "--max-connections: must be a whole number from 64 to 1000000"},
		{"half a connection", flag("--max-connections=64.5"), "--max-connections: must be a whole number from 64 to 1000000"},
		{"trace with a user", flag("--trace-endpoint=http://u:p@h:4318"), "--trace-endpoint: " + trace},
		{"trace with a query", flag("--trace-endpoint=http://h:4318?key=k"), "--trace-endpoint: " + trace},
		{"trace of gRPC", flag("--trace-endpoint=h:4317"), "--trace-endpoint: " + trace},
		{"sample above", flag("--trace-endpoint=http://h", "--trace-sample=1.01"), "--trace-sample: must be a number from 0 to 1, as in 0.1"},
		{"sample below", flag("--trace-endpoint=http://h", "--trace-sample=-0.1"), "--trace-sample: must be a number from 0 to 1, as in 0.1"},
		{"sample is no number", flag("--trace-endpoint=http://h", "--trace-sample=NaN"), "--trace-sample: must be a number from 0 to 1, as in 0.1"},
		{"sample in percent", flag("--trace-endpoint=http://h", "--trace-sample=5%"), "--trace-sample: must be a number from 0 to 1, as in 0.1"},
		{"sample in quotes", file("trace_endpoint: http://h\ntrace_sample: 'a'\n"), "FILE: line 2: trace_sample: must be a number, without quotes"},
		{"sample of nothing", flag("--trace-sample=0.5"), "--trace-sample: can only be used with --trace-endpoint"},

		{"listen", flag("--listen=8080"), "--listen: " + address},
		{"listen empty", flag("--listen="), "--listen: " + address},
		{"listen by service name", flag("--listen=:http"), "--listen: " + address},
		{"port", env("AUTHSVC_ADMIN_LISTEN=:65536"), "AUTHSVC_ADMIN_LISTEN: " + address},
		{"one address", flag("--admin-listen=127.0.0.1:8080"), "--admin-listen: is the address of --listen too; they need one each"},

		{"store scheme", flag("--store=http://127.0.0.1"), "--store: " + noScheme},
		{"store without a scheme", flag("--store=127.0.0.1:6379"), "--store: " + noScheme},
		{"store without a host", flag("--store=redis://"), "--store: " + form},
		{"memory with a host", flag("--store=memory://x"), "--store: must be memory:// alone, which takes no address"},
		{
			"both store variables",
			input{flags: enough[1:], env: []string{"AUTHSVC_STORE=redis://h", "AUTHSVC_STORE_FILE=SECRET"}, secret: "redis://h"},
			"AUTHSVC_STORE and AUTHSVC_STORE_FILE: both are set; give one of them only",
		},
		{
			"store file missing",
			input{flags: enough[1:], env: []string{"AUTHSVC_STORE_FILE=/none"}},
			"AUTHSVC_STORE_FILE: the file it names can't be read: no such file or directory",
		},
		{
			"store file empty",
			input{flags: enough[1:], env: []string{"AUTHSVC_STORE_FILE=SECRET"}, secret: "\n"},
			"AUTHSVC_STORE_FILE: the file it names is empty",
		},
		{"store file bad", input{flags: enough[1:], env: []string{"AUTHSVC_STORE_FILE=SECRET"}, secret: "h"}, "AUTHSVC_STORE_FILE: " + noScheme},
		{"store-ca without TLS", flag("--store-ca=ca.pem"), "--store-ca: " + rediss},
		{"store-ca with a Cluster without TLS", flag("--store=redis+cluster://h", "--store-ca=ca.pem"), "--store-ca: " + rediss},
		{"two passwords", flag("--store=redis://:p@h", "--store-password=p"), "--store-password: the URL of the store holds a password already; leave one of them out"},
		{"a user without a password", flag("--store=redis://u@h"), "--store: names a user, and no password; give it in the URL (user:password@), or with --store-password"},
		{"a Sentinel user without a password", flag("--store=redis+sentinel://h/p", "--store-sentinel-user=u"), "--store-sentinel-user: needs --store-sentinel-password with it"},
		{"a password for memory", flag("--store=memory://", "--store-password=p"), "--store-password: can only be used with a store in Redis"},
		{"a Cluster's database", flag("--store=redis+cluster://h/1"), "--store: must be of the form redis+cluster://user:password@host:port,host:port: a Cluster has database 0 only"},
		{
			"a user whose password can't be read",
			input{flags: append([]string{"--store=redis://u@h"}, enough[1:]...), env: []string{"AUTHSVC_STORE_PASSWORD_FILE=/none"}},
			"AUTHSVC_STORE_PASSWORD_FILE: the file it names can't be read: no such file or directory",
		},
		{"a prefix for --dev", input{flags: []string{"--dev", "--store-prefix=p"}}, "--store-prefix: can only be used with a store in Redis"},
		{"eviction in memory", flag("--store=memory://", "--allow-eviction"), "--allow-eviction: can only be used with a store in Redis"},
		{"a Sentinel password without Sentinels", flag("--store-sentinel-password=p"), "--store-sentinel-password: can only be used with a redis+sentinel:// store"},
		{"a prefix with a brace", flag("--store-prefix={a}"), "--store-prefix: must be up to 64 of A-Z a-z 0-9 . : _ - and begin with a letter or a digit"},
		{"store-cert alone", flag("--store=rediss://h", "--store-cert=c"), "--store-cert: needs --store-key with it"},
		{"store-key alone", input{flags: append([]string{"--store=rediss://h"}, enough[1:]...), env: []string{"AUTHSVC_STORE_KEY=k"}}, "AUTHSVC_STORE_KEY: needs --store-cert with it"},
		{"tls-cert alone", flag("--tls-cert=c"), "--tls-cert: needs --tls-key with it"},
		{"tls-key alone", file("tls_key: k\n"), "FILE: line 1: tls_key: needs --tls-cert with it"},

		{"access-ttl", flag("--access-ttl=soon"), "--access-ttl: " + duration},
		{"access-ttl without a unit", flag("--access-ttl=3600"), "--access-ttl: " + duration},
		{"access-ttl too short", flag("--access-ttl=0s"), "--access-ttl: " + ttl},
		{"access-ttl too long", flag("--access-ttl=72001s"), "--access-ttl: " + ttl},
		{"access-ttl not whole", env("AUTHSVC_ACCESS_TTL=1500ms"), "AUTHSVC_ACCESS_TTL: " + ttl},
		{"refresh-ttl", file("refresh_ttl: 21h\n"), "FILE: line 1: refresh_ttl: " + ttl},
		{"no grace", flag("--refresh-grace=0s"), "--refresh-grace: must be from 2s to 10m"},
		{"grace too long", flag("--refresh-grace=10m1s"), "--refresh-grace: must be from 2s to 10m"},
		{"store-timeout too short", flag("--store-timeout=9ms"), "--store-timeout: must be from 10ms to 10s"},
		{"store-timeout too long", flag("--store-timeout=11s"), "--store-timeout: must be from 10ms to 10s"},
		{"drain negative", flag("--drain=-1s"), "--drain: must be from 0s to 10m"},
		{"drain too long", flag("--drain=11m"), "--drain: must be from 0s to 10m"},

		{"issuer relative", flag("--issuer=auth.example.com"), "--issuer: " + issuer},
		{"issuer scheme", flag("--issuer=ftp://auth.example.com"), "--issuer: " + issuer},
		{"issuer without a host", flag("--issuer=https://:443"), "--issuer: " + issuer},
		{"issuer with a user", flag("--issuer=https://u:pw@auth.example.com"), "--issuer: " + issuer},
		{"issuer with a query", flag("--issuer=https://auth.example.com?"), "--issuer: " + issuer},
		{"issuer with a fragment", flag("--issuer=https://auth.example.com#"), "--issuer: " + issuer},
		{"issuer with a space", flag("--issuer=https://auth.example.com/a b"), "--issuer: " + issuer},
		{"issuer port", flag("--issuer=https://auth.example.com:x"), "--issuer: " + issuer},
		{"proxies", flag("--trusted-proxies=10.0.0.1/8,x,::1"), "--trusted-proxies: entry 1 10.0.0.1/8 is an address in a network; the network is 10.0.0.0/8; entry 2 " + network},
		{"proxies with a hole", env("AUTHSVC_TRUSTED_PROXIES=::1,,::2"), "AUTHSVC_TRUSTED_PROXIES: entry 2 " + network},
		{"introspect-reason", flag("--introspect-reason=maybe"), "--introspect-reason: must be true or false"},
		{"log-level", flag("--log-level=WARN"), "--log-level: must be debug, info, warn or error"},
		{"dev", env("AUTHSVC_DEV=maybe"), "AUTHSVC_DEV: must be true or false"},
		{"dev and store", input{flags: []string{"--dev", "--store=redis://h"}}, "--store: " + dev},
		{"dev and apps", input{flags: []string{"--dev"}, env: []string{"AUTHSVC_APPS=a"}}, "AUTHSVC_APPS: " + dev},
		{"dev and keys", input{flags: []string{"--dev", "--config=FILE"}, yaml: "keys: k\n"}, "FILE: line 1: keys: " + dev},
		{
			"dev in the file",
			input{flags: append([]string{"--config=FILE"}, enough[0]), yaml: "dev: true\n"},
			"--store: can't go with FILE: line 1: dev, which keeps everything in memory; leave one of them out",
		},

		{"no file", flag("--config=/none.yaml"), "--config: /none.yaml can't be read: no such file or directory"},
		{"a directory for the file", env("AUTHSVC_CONFIG=" + dir), "AUTHSVC_CONFIG: " + dir + " can't be read: is a directory"},
		{"not text", file("listen: \xff"), "FILE: not a text file in UTF-8"},
		{"syntax", file("dev: false\nlisten: a: b\n"), "FILE: line 2: " + syntax},
		{"not a mapping", file("- listen\n"), "FILE: line 1: must consist of settings, each with a name and a colon"},
		{"two documents", file("dev: false\n---\ndev: true\n"), "FILE: line 3: YAML directives and further documents are not read here"},
		{"NUL", file("listen: \x00"), "FILE: not a text file in UTF-8"},
		{"UTF-16", file("\xff\xfea\x00"), "FILE: not a text file in UTF-8"},
		{"a directive", file("%YAML 1.2\n---\ndev: false\n"), "FILE: line 1: YAML directives and further documents are not read here"},
		{"a tab", file("dev: false\n\tlisten: a\n"), "FILE: line 2: not valid YAML from here on (column 1): look at the indentation, the colons and the quotes"},
		{"null", file("null\n"), "FILE: line 1: must consist of settings, each with a name and a colon"},
		{"a text", file("dev\n"), "FILE: line 1: must consist of settings, each with a name and a colon"},
		{"a tag on all of it", file("!x\ndev: false\n"), "FILE: line 1: must consist of settings, each with a name and a colon"},
		{"a merge", file("<<: {dev: true}\n"), "FILE: line 1: a key must be the name of a setting"},
		{"brackets without end", file("trusted_proxies: " + strings.Repeat("[", 10_000)), "FILE: line 1: " + tooDeep},
		{"dashes without end", file("trusted_proxies:\n" + strings.Repeat("- ", 10_000)), "FILE: line 2: " + tooDeep},
		{"braces without end", file("listen: " + strings.Repeat("{a: ", 10_000)), "FILE: line 1: " + tooDeep},
		{"keys without end", file(strings.Repeat("drain: 1s\n", 1001)), "FILE: line 1001: more than 1000 keys in one mapping: look for a brace that is not closed"},
		{"a text without end", file("listen: " + strings.Repeat("x", strictyaml.MaxSize)), "--config: FILE can't be read: longer than 8388608 bytes"},
		{"unknown key", file("colour: red\n"), "FILE: line 1: colour is not a setting"},
		{"near key", file("\nacess_ttl: 1h\n"), "FILE: line 2: acess_ttl is not a setting; did you mean access_ttl?"},
		{"key with dashes", file("access-ttl: 1h\n"), "FILE: line 1: access-ttl is not a setting; did you mean access_ttl?"},
		{"config within", file("config: other.yaml\n"), "FILE: line 1: config is not a setting"},
		{"store_file", file("store_file: x\n"), "FILE: line 1: store_file is not a setting"},
		{"odd key", file("? a\n"), "FILE: line 1: a key must be the name of a setting"},
		{"number for a key", file("1: a\n"), "FILE: line 1: a key must be the name of a setting"},
		{"key twice", file("drain: 1s\ndrain: 2s\n"), "FILE: line 2: drain: duplicate key, first in line 1"},
		{"nothing", file("drain:\n"), "FILE: line 1: drain: is empty; leave it out, or give a value"},
		{"an anchor", file("drain: &a 1s\n"), "FILE: line 1: drain: YAML tags, anchors and aliases are not read here: put the value in quotes"},
		{"an alias", file("drain: *a\n"), "FILE: line 1: drain: YAML tags, anchors and aliases are not read here: put the value in quotes"},
		{"a tag", file("drain: !!str 1s\n"), "FILE: line 1: drain: YAML tags, anchors and aliases are not read here: put the value in quotes"},
		{"an alias in a list", file("trusted_proxies: [*a]\n"), "FILE: line 1: trusted_proxies: must be a list of texts: put each in quotes"},
		{"a block", file("apps: |-\n  a\n"), "FILE: line 1: apps: must be text: put it in quotes"},
		{"text for a bool", file("introspect_reason: yes\n"), "FILE: line 1: introspect_reason: must be true or false, without quotes"},
		{"bool for a text", file("apps: true\n"), "FILE: line 1: apps: must be text: put it in quotes"},
		{"number for a text", file("listen: 8080\n"), "FILE: line 1: listen: must be text: put it in quotes"},
		{"number for a duration", file("drain: 10\n"), "FILE: line 1: drain: " + duration},
		{"list for a text", file("store: [redis://h]\n"), "FILE: line 1: store: must be text: put it in quotes"},
		{"mapping for a text", file("store: {url: redis://h}\n"), "FILE: line 1: store: must be text: put it in quotes"},
		{"text for a list", file("trusted_proxies: '::1'\n"), "FILE: line 1: trusted_proxies: must be a list, such as [one, two]"},
		{"numbers in a list", file("trusted_proxies: [10.0]\n"), "FILE: line 1: trusted_proxies: must be a list of texts: put each in quotes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, _, faults := load(t, tt.in)
			if diff := cmp.Diff([]string{tt.want}, faults); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, _, warnings, faults := load(t, input{
		flags: []string{"--config=FILE", "--access-ttl=1", "--tls-cert=c"},
		env:   []string{"AUTHSVC_STORE=postgres://h", "AUTHSVC_LOG_LEVEL=loud", "AUTHSVC_LISTNE=:80", "HOME=/"},
		yaml:  "drain: 10\nlog_levl: info\ntrusted_proxies: [x]\n",
	})
	if diff := cmp.Diff([]string{
		"FILE: line 1: drain: must be a duration with a unit, as in 300ms, 90s or 1h",
		"FILE: line 2: log_levl is not a setting; did you mean log_level?",
		"AUTHSVC_STORE: must be memory://, or a Redis: redis://, rediss:// (TLS), unix://, redis+sentinel:// or redis+cluster://",
		"--access-ttl: must be a duration with a unit, as in 300ms, 90s or 1h",
		"FILE: line 3: trusted_proxies: entry 1 must be an IP address, or a network such as 10.0.0.0/8 or 2001:db8::/32",
		"AUTHSVC_LOG_LEVEL: must be debug, info, warn or error",
		"--apps is missing",
		"--keys is missing",
		"--tls-cert: needs --tls-key with it",
	}, faults, cmp.Comparer(func(a, b string) bool {
		return a == b || strings.HasPrefix(a, b+" (--dev") || strings.HasPrefix(b, a+" (--dev")
	})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"AUTHSVC_LISTNE: is not a setting; did you mean AUTHSVC_LISTEN?"}, warnings); diff != "" {
		t.Error(diff)
	}
}

func TestErrorText(t *testing.T) {
	if got := (&Error{[]string{"a"}}).Error(); got != "a" {
		t.Errorf("%q", got)
	}
	if got := (&Error{[]string{"a", "b"}}).Error(); got != "2 faults in the settings:\n  a\n  b" {
		t.Errorf("%q", got)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name string
		in   input
		want []string
	}{
		{"unknown variables", input{flags: enough, env: []string{
			"AUTHSVC_PORT=tcp://10.0.0.1:80", "AUTHSVC_SOTRE=redis://:pw@h", "AUTHSVC_APPS_FILE=x", "AUTHSVC_STORE_FIL=x",
			"authsvc_listen=:1", "AUTHSVC=1", "LISTEN=:1", "junk",
		}}, []string{
			"AUTHSVC_APPS_FILE: is not a setting",
			"AUTHSVC_PORT: is not a setting",
			"AUTHSVC_SOTRE: is not a setting; did you mean AUTHSVC_STORE?",
			"AUTHSVC_STORE_FIL: is not a setting; did you mean AUTHSVC_STORE_FILE?",
		}},
		{"life under the grace", input{flags: enough, env: []string{"AUTHSVC_REFRESH_TTL=59s"}}, []string{
			"AUTHSVC_REFRESH_TTL: a refresh token's life of 59s is shorter than the grace of 1m, so the retry of a refresh can come too late (APIG.1001)",
		}},
		{"an access token's life under the grace", input{flags: enough, env: []string{"AUTHSVC_ACCESS_TTL=59s"}}, []string{
			"AUTHSVC_ACCESS_TTL: an access token's life of 59s is shorter than the grace of 1m, so the retry of a refresh can get another access token than the refresh",
		}},
		{"life as long as the grace", input{flags: enough, env: []string{"AUTHSVC_REFRESH_TTL=60s", "AUTHSVC_ACCESS_TTL=60s"}}, nil},
		{"memory", input{flags: append([]string{"--store=memory://"}, enough[1:]...)}, []string{
			"--store: tokens kept in memory are gone when the process ends, and no other replica knows them",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, warnings, faults := load(t, tt.in)
			if diff := cmp.Diff(tt.want, warnings); diff != "" || len(faults) > 0 {
				t.Errorf("%s%q", diff, faults)
			}
		})
	}
}

// No fault, warning or listing shows what the store's URL is, whatever is wrong
// with it and wherever it was given.
func TestSecretIsNeverShown(t *testing.T) {
	const password = "hunter2-Hunter2"
	rest := enough[1:]
	file := append([]string{"--config=FILE"}, rest...)
	var inputs []input
	for _, url := range []string{
		"redis://:P@h/0", "rediss://u:P@h", "postgres://:P@h", "P", "redis://:P@h:port/0", "redis://:%zzP@h", "redis://P\x7f", " redis://:P@h",
	} {
		inputs = append(inputs,
			input{flags: append([]string{"--store=" + url}, rest...)},
			input{flags: []string{"--store=" + url, "--dev"}},
			input{flags: append([]string{"--store=" + url, "--store-ca=x", "--store-key=x"}, rest...)},
			input{flags: rest, env: []string{"AUTHSVC_STORE=" + url}},
			input{flags: rest, env: []string{"AUTHSVC_STORE_FILE=" + url}},
			input{flags: rest, env: []string{"AUTHSVC_STORE=" + url, "AUTHSVC_STORE_FILE=" + url}},
			input{flags: rest, env: []string{"AUTHSVC_STORE_FILE=SECRET"}, secret: url},
			input{flags: rest, env: []string{"AUTHSVC_STORES=" + url}},
		)
		for _, yaml := range []string{
			"store: U\n", "store: 'U'\n", "store: \"U\n", "store: [U]\n", "store: {U: U}\n", "store: U: U\n", "store: !x U\n", "store: &U 1\n",
			"store: 'U'\nstore: 'U'\n", "stores: U\n", "store:\n\tU\n", "store:\nU\n", "U\n", "U: 1\n", "'U': 1\n", "? U\n", "store: |\n  U\n", "listen: 'U'\n", "issuer: 'U'\n",
			"trusted_proxies: ['U']\n", "drain: 'U'\n", "log_level: 'U'\n",
		} {
			inputs = append(inputs, input{flags: file, yaml: strings.ReplaceAll(yaml, "U", url)})
		}
	}
	for _, in := range inputs {
		in.flags = replaceAll(in.flags, "P", password)
		in.env = replaceAll(in.env, "P", password)
		in.yaml, in.secret = strings.ReplaceAll(in.yaml, "P", password), strings.ReplaceAll(in.secret, "P", password)
		s, _, warnings, faults := load(t, in)
		for _, setting := range s.All() {
			if setting.Name != "store" {
				continue
			}
			warnings = append(warnings, fmt.Sprint(setting))
		}
		if said := fmt.Sprintf("%q %q", warnings, faults); strings.Contains(said, "unter2") {
			t.Errorf("%q shows the password: %s", in, said)
		}
	}
}

// replaceAll leaves the name in front of the = alone.
func replaceAll(list []string, from, to string) []string {
	var replaced []string
	for _, s := range list {
		name, value, _ := strings.Cut(s, "=")
		if strings.Contains(s, "=") {
			name += "="
		}
		if value != "SECRET" && value != "FILE" {
			value = strings.ReplaceAll(value, from, to)
		}
		replaced = append(replaced, name+value)
	}
	return replaced
}

// The help shows each flag with its default, and no secret.
func TestUsage(t *testing.T) {
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Register(fs)
	if err := fs.Parse([]string{"--store=redis://:hunter2@h"}); err != nil {
		t.Fatal(err)
	}
	usage := fs.FlagUsages()
	for _, want := range []string{
		"--listen HOST:PORT", `(default "127.0.0.1:8080")`, "--trusted-proxies NETWORKS", "--refresh-grace duration", "(default 1m)",
		"--introspect-reason ", "(default true)", "--dev ",
	} {
		if !strings.Contains(usage, want) {
			t.Errorf("no %q in\n%s", want, usage)
		}
	}
	if strings.Contains(usage, "hunter2") {
		t.Error("the usage shows the store")
	}
}

func TestOrigins(t *testing.T) {
	s, _, _, _ := load(t, input{
		flags: append([]string{"--config=FILE", "--log-level=warn"}, enough...),
		env:   []string{"AUTHSVC_DRAIN=1m"}, yaml: "listen: ':1'\ntrusted_proxies: ['::1', 10.0.0.0/8]\n",
	})
	got := map[string]string{}
	for _, st := range s.All() {
		got[st.Name] = st.Origin.String() + " " + st.Value
	}
	want := map[string]string{
		"listen": "file :1", "admin-listen": "default 127.0.0.1:8081", "store": "flag (secret)", "store-ca": "default ", "store-cert": "default ",
		"store-key": "default ", "store-password": "default ", "store-sentinel-user": "default ", "store-sentinel-password": "default ",
		"store-prefix": "default authsvc:", "allow-eviction": "default false", "apps": "flag apps.yaml", "keys": "flag keys.json", "access-ttl": "default 1h", "refresh-ttl": "default 2h",
		"refresh-grace": "default 1m", "store-timeout": "default 300ms", "issuer": "default http://127.0.0.1:1",
		"trusted-proxies": "file ::1,10.0.0.0/8", "tls-cert": "default ", "tls-key": "default ", "drain": "env 1m", "max-connections": "default ",
		"introspect-reason": "default true", "log-level": "flag warn", "trace-endpoint": "default ", "trace-sample": "default 1", "pprof": "default false", "dev": "default false", "config": got["config"],
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDidYouMean(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"store", "sotre", 2}, {"abc", "abc", 0}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d", tt.a, tt.b, got)
		}
	}
}

// The service's files are those that hold settings, too.
func TestFilesOfSettings(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(secret, []byte("redis://127.0.0.1:6379/0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, got, _, faults := load(t, input{flags: []string{"--config=FILE", "--apps=apps.yaml", "--keys=keys.json"}, env: []string{"AUTHSVC_STORE_FILE=" + secret}, yaml: "drain: 1s\n"})
	if len(faults) > 0 || len(got.Files) != 4 || got.Files[1] != secret {
		t.Errorf("%q %q", got.Files, faults)
	}
}
