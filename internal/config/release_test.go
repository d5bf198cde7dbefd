package config

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"authsvc/internal/redisconn"
	"authsvc/internal/store"
)

// A release reads what the ones before it read: a setting keeps its name and its meaning.
func TestSettingsOf010(t *testing.T) {
	const file = "../../testdata/0.1.0/authsvc.yaml"
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	s := Register(fs)
	if err := fs.Parse([]string{"--config", file}); err != nil {
		t.Fatal(err)
	}
	got, _, err := s.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Listen: "127.0.0.1:18080", AdminListen: "[::1]:18081",
		Store: store.Target{
			Topology: redisconn.Sentinel, Addrs: []string{"10.0.0.1:26379", "10.0.0.2:26379"}, Primary: "main", DB: 3,
			User: "authsvc", Password: "store-Password", SentinelUser: "sentinel", SentinelPassword: "sentinel-Password", Prefix: "tenant-7:",
		},
		AllowEviction: true, Apps: "apps.yaml", Keys: "keys.json",
		AccessTTL: 90 * time.Second, RefreshTTL: 20 * time.Hour, RefreshGrace: 150 * time.Second, StoreTimeout: 750 * time.Millisecond,
		Issuer:         "https://auth.example.com/tokens",
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")},
		TLSCert:        "server.crt", TLSKey: "server.key",
		Drain: 0, IntrospectReason: false, LogLevel: slog.LevelWarn,
		TraceEndpoint: "http://127.0.0.1:4318/v1/traces", TraceSample: 0.25, Pprof: true, MaxConnections: 500,
		Files: []string{file, "apps.yaml", "keys.json", "server.crt", "server.key"},
	}
	if d := cmp.Diff(want, got, netipEqual); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
