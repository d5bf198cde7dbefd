package httpapi_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"authsvc/internal/app"
	"authsvc/internal/httpapi"
	"authsvc/internal/store"
	"authsvc/internal/token"
)

// The handlers without the network, over memory: what authsvc itself costs.
func BenchmarkHandlers(b *testing.B) {
	ring := token.NewKeyring(time.Now())
	pepper := ring.Pepper()
	apps, err := app.NewRegistry(pepper, []app.App{{
		Key: worker, SecretHash: pepper.Hash(secret), Scopes: []string{"orders.read", "orders.write"}, Roles: []string{app.RoleIntrospect},
	}})
	if err != nil {
		b.Fatal(err)
	}
	clock := token.NewClock(time.Now)
	metrics := httpapi.NewMetrics(clock)
	st := metrics.Store(store.NewMemory(time.Now))
	if err := clock.Measure(b.Context(), st); err != nil {
		b.Fatal(err)
	}
	h, err := httpapi.New(httpapi.Config{
		Manager: token.NewManager(token.Config{
			Store: st, Clock: clock, Keys: token.NewKeys(ring, nil), Apps: apps,
			AccessTTL: time.Hour, RefreshTTL: 2 * time.Hour, Grace: time.Minute,
		}),
		Apps: apps, Metrics: metrics, Log: slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError})),
		Issuer: issuer, StoreTimeout: time.Second, IntrospectReason: true, Draining: func() bool { return false },
	})
	if err != nil {
		b.Fatal(err)
	}
	post := func(path string, form url.Values) *httptest.ResponseRecorder {
		form.Set("client_id", worker)
		form.Set("client_secret", secret)
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	tok := answer{body: post("/oauth/token", values("grant_type", "client_credentials")).Body.Bytes()}.text("access_token")
	for name, form := range map[string]url.Values{"token": values("grant_type", "client_credentials"), "introspect": values("token", tok)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if w := post("/oauth/"+name, form); w.Code != http.StatusOK {
					b.Fatalf("%d %s", w.Code, w.Body)
				}
			}
		})
	}
}
