package process

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"authsvc/internal/authsvctest"
	"authsvc/internal/config"
	"authsvc/internal/redistest"
	"authsvc/internal/store"
)

// targetOf returns what --store says of a Redis.
func targetOf(t *testing.T, redis *redistest.Server) store.Target {
	t.Helper()
	target, err := store.ParseTarget(redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// A start that fails leaves no goroutine and no connection behind, whatever was opened
// before it failed.
func TestAFailedStartClosesWhatItOpened(t *testing.T) {
	redis := redistest.Start(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	missing := filepath.Join(t.TempDir(), "missing")
	for name, spoil := range map[string]func(*config.Config){
		"keyring":        func(c *config.Config) { c.Keys = missing },
		"apps file":      func(c *config.Config) { c.Apps = missing },
		"certificate":    func(c *config.Config) { c.TLSCert, c.TLSKey = missing, missing },
		"store":          func(c *config.Config) { c.Store.TLS, c.Store.CAFile = true, missing },
		"listener":       func(c *config.Config) { c.Listen = taken.Addr().String() },
		"admin listener": func(c *config.Config) { c.AdminListen = taken.Addr().String() },
		"Redis":          func(c *config.Config) { c.Store.Prefix = "other:" },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "Redis" { // it is refused, once it was opened and checked
				if err := redis.Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
					t.Fatal(err)
				}
				defer redis.Client().ConfigSet(context.Background(), "maxmemory-policy", "noeviction")
			}
			site := authsvctest.NewSite(t)
			cfg := config.Config{
				Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Issuer: "http://127.0.0.1",
				Store: targetOf(t, redis), StoreTimeout: 5 * time.Second, Apps: site.Apps, Keys: site.Keys,
				AccessTTL: time.Hour, RefreshTTL: time.Hour, RefreshGrace: time.Minute,
				TraceEndpoint: "http://127.0.0.1:1/v1/traces", TraceSample: 1,
			}
			spoil(&cfg)
			before := goleak.IgnoreCurrent()
			p, err := New(Config{
				Settings: cfg, Log: slog.New(slog.DiscardHandler), LogLinesDropped: func() uint64 { return 0 }, Stdout: io.Discard,
			})
			if err == nil {
				err = p.Run(t.Context())
			}
			if err == nil {
				t.Fatal("it started")
			}
			if err := goleak.Find(before); err != nil {
				t.Errorf("after %v: %v", name, err)
			}
		})
	}
}
