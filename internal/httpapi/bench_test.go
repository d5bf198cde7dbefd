package httpapi_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"authsvc/internal/app"
	"authsvc/internal/httpapi"
	"authsvc/internal/keyring"
	"authsvc/internal/store/memory"
	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

// The handlers without HTTP's network, over memory (what authsvc itself costs) and
// over a real Redis. Refresh goes on from the last answer, so each refresh token is
// used once.
func BenchmarkHandlers(b *testing.B) {
	stores := map[string]func() token.Store{
		"memory": func() token.Store { return memory.New(time.Now) },
		"redis":  func() token.Store { return redisStore(b) },
	}
	for name, open := range stores {
		post := benchService(b, open())
		issue := func() received {
			return received{body: post("/oauth/token", values("grant_type", "client_credentials")).Body.Bytes()}
		}
		b.Run(name+"/issue", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					issue()
				}
			})
		})
		b.Run(name+"/refresh", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				last := issue()
				for pb.Next() {
					last = received{body: post("/oauth/token", values("grant_type", "refresh_token", "refresh_token", last.text("refresh_token"))).Body.Bytes()}
				}
			})
		})
		b.Run(name+"/introspect", func(b *testing.B) {
			tok := issue().text("access_token")
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					post("/oauth/introspect", values("token", tok))
				}
			})
		})
	}
}

// benchService returns a function that posts a form to a service, and fails the
// benchmark on any failure.
func benchService(b *testing.B, st token.Store) func(path string, form url.Values) *httptest.ResponseRecorder {
	h := benchHandler(b, st, io.Discard)
	return func(path string, form url.Values) *httptest.ResponseRecorder {
		form.Set("client_id", worker)
		form.Set("client_secret", secret)
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Errorf("%d %s", w.Code, w.Body)
		}
		return w
	}
}

// benchHandler returns the handler of a service that trusts the addresses of this machine
// as proxies.
func benchHandler(tb testing.TB, st token.Store, log io.Writer) http.Handler {
	tb.Helper()
	ring := keyring.New(time.Now())
	pepper := ring.Pepper()
	apps, err := app.NewRegistry(pepper, []app.App{{
		Key: worker, Secrets: []app.Secret{{Hash: pepper.Hash(secret)}}, Scopes: []string{"orders.read", "orders.write"}, Roles: []string{app.RoleIntrospect},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	clock := token.NewClock(time.Now)
	metrics := telemetry.NewMetrics(clock)
	st = telemetry.Store(st, metrics, nil)
	if err := clock.Measure(tb.Context(), st); err != nil {
		tb.Fatal(err)
	}
	h, err := httpapi.New(httpapi.Config{
		Manager: token.NewManager(token.Config{
			Store: st, Clock: clock, Keys: keyring.NewCurrent(ring, nil), Apps: apps,
			AccessTTL: time.Hour, RefreshTTL: 2 * time.Hour, Grace: time.Minute,
		}),
		Apps: apps, Telemetry: metrics, Log: slog.New(slog.NewJSONHandler(log, nil)),
		Issuer: issuer, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, StoreTimeout: 5 * time.Second, IntrospectReason: true, Draining: func() bool { return false },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}
