package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"authsvc/internal/answer"
	"authsvc/internal/app"
	"authsvc/internal/httpapi"
	"authsvc/internal/keyring"
	"authsvc/internal/redistest"
	"authsvc/internal/store"
	"authsvc/internal/store/memory"
	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

// service is the API on a real listener, over a memory store, with a clock that
// tests advance and a log that they read.
type service struct {
	t        *testing.T
	url      string
	admin    string
	now      *fakeNow
	store    *switchStore
	apps     *app.Registry
	list     []app.App
	log      *logBuffer
	manager  *token.Manager
	draining bool
}

const (
	worker  = "billing-worker"
	other   = "orders-batch-01"
	frozen  = "frozen-app-01"
	distant = "distant-app-01" // trusts networks that the tests do not call from
	gateway = "edge-gateway"
	secret  = "b1lling-Secret-0001"
	issuer  = "https://auth.example.com"
)

func newService(t *testing.T, change ...func(*httpapi.Config)) *service {
	t.Helper()
	now := &fakeNow{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	return newServiceOn(t, memory.New(now.Now), now, change...)
}

// redisStore returns a store in a Redis of its own.
func redisStore(t testing.TB) token.Store {
	t.Helper()
	target, err := store.ParseTarget(redistest.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(target, store.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// newServiceOn is newService over another store. The process clock may be far
// from the store's: only how it advances counts.
func newServiceOn(t *testing.T, st token.Store, now *fakeNow, change ...func(*httpapi.Config)) *service {
	t.Helper()
	s := &service{t: t, now: now, log: &logBuffer{}}
	ring := sharedRing()
	pepper := ring.Pepper()
	hash := pepper.Hash(secret)
	s.list = []app.App{
		{Key: worker, Secrets: []app.Secret{{Hash: hash}}, Scopes: []string{"orders.read", "orders.write"}},
		{Key: other, Secrets: []app.Secret{{Hash: hash}}, Scopes: []string{"orders.read"}},
		{Key: frozen, Secrets: []app.Secret{{Hash: hash}}, Frozen: true, Scopes: []string{"orders.read"}},
		{Key: distant, Secrets: []app.Secret{{Hash: hash}}, TrustedIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		{Key: gateway, Secrets: []app.Secret{{Hash: hash}}, Roles: []string{app.RoleIntrospect}},
	}
	var err error
	if s.apps, err = app.NewRegistry(pepper, s.list); err != nil {
		t.Fatal(err)
	}
	s.store = &switchStore{Store: st}
	clock := token.NewClock(s.now.Now)
	clock.SetTimer(s.now.After)
	if err := clock.Measure(context.Background(), s.store); err != nil {
		t.Fatal(err)
	}
	metrics := telemetry.NewMetrics(clock)
	log := slog.New(slog.NewJSONHandler(s.log, nil))
	measured := telemetry.Store(s.store, metrics, nil)
	s.manager = token.NewManager(token.Config{
		Store: measured, Clock: clock, Keys: keyring.NewCurrent(ring, nil), Apps: s.apps,
		AccessTTL: token.DefaultAccessTTL, RefreshTTL: token.DefaultRefreshTTL, Grace: token.DefaultGrace,
		OnEvent: metrics.GrantEvents(log),
	})
	cfg := httpapi.Config{
		Manager: s.manager, Apps: s.apps, Telemetry: metrics, Log: log,
		Issuer: issuer, StoreTimeout: 5 * time.Second, IntrospectReason: true,
		Draining: func() bool { return s.draining },
	}
	for _, c := range change {
		c(&cfg)
	}
	h, err := httpapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Config.MaxHeaderBytes = answer.MaxHeaderBytes
	srv.Start()
	t.Cleanup(srv.Close)
	adm := httptest.NewServer(telemetry.NewProbes(telemetry.ProbesConfig{
		Store: measured, Clock: clock, Metrics: metrics, StoreTimeout: 5 * time.Second,
		Draining: func() bool { return s.draining },
	}))
	t.Cleanup(adm.Close)
	s.url, s.admin = srv.URL, adm.URL
	return s
}

// sharedRing is the keyring of all services of the tests, so that two of them can
// share a store.
var sharedRing = sync.OnceValue(func() *keyring.Keyring {
	return keyring.New(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
})

// setApp changes one app of the registry.
func (s *service) setApp(key string, change func(*app.App)) {
	s.t.Helper()
	for i := range s.list {
		if s.list[i].Key == key {
			change(&s.list[i])
		}
	}
	if err := s.apps.Replace(s.list); err != nil {
		s.t.Fatal(err)
	}
}

// received is what was answered.
type received struct {
	status int
	header http.Header
	body   []byte
}

func (a received) field(name string) any {
	var m map[string]any
	_ = json.Unmarshal(a.body, &m)
	return m[name]
}

func (a received) text(name string) string {
	s, _ := a.field(name).(string)
	return s
}

// do sends a request. What the service answers must be as openapi.yaml has it,
// and so must be a request that it accepts.
func (s *service) do(r *http.Request) received {
	s.t.Helper()
	sent := peekBody(s.t, r)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := received{res.StatusCode, res.Header, body}
	if s.url == "http://"+r.URL.Host { // and not the admin listener
		if err := described(s.t).check(r, sent, a); err != nil {
			s.t.Errorf("%s %s, answered %d: not as openapi.yaml has it: %v", r.Method, r.URL.Path, a.status, err)
		}
	}
	return a
}

// peekBody returns the first 64 KiB of a body, which is all of any that is not
// refused.
func peekBody(t *testing.T, r *http.Request) []byte {
	t.Helper()
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(b), r.Body))
	return b
}

// post sends a form with the client in the body.
func (s *service) post(path, key string, form url.Values) received {
	s.t.Helper()
	form.Set("client_id", key)
	form.Set("client_secret", secret)
	return s.send(path, "application/x-www-form-urlencoded", form.Encode())
}

func (s *service) send(path, contentType, body string) received {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	return s.do(r)
}

func (s *service) get(url string, header ...string) received {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return s.do(r)
}

// pair is a good token answer.
type pair struct{ access, refresh string }

func (s *service) issue(key string, more ...string) pair {
	s.t.Helper()
	return s.grant(key, append([]string{"grant_type", "client_credentials"}, more...)...)
}

func (s *service) refresh(key string, p pair, more ...string) pair {
	s.t.Helper()
	return s.grant(key, append([]string{"grant_type", "refresh_token", "refresh_token", p.refresh}, more...)...)
}

func (s *service) grant(key string, params ...string) pair {
	s.t.Helper()
	a := s.post("/oauth/token", key, values(params...))
	if a.status != http.StatusOK {
		s.t.Fatalf("%v: %d %s", params, a.status, a.body)
	}
	return pair{a.text("access_token"), a.text("refresh_token")}
}

func values(params ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(params); i += 2 {
		v.Add(params[i], params[i+1])
	}
	return v
}

// fakeNow is a clock that stands until it is advanced.
type fakeNow struct {
	mu  sync.Mutex
	now time.Time
}

func (f *fakeNow) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeNow) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// After is a timer that is over at once, and leaves the clock where it is.
func (f *fakeNow) After(time.Duration) <-chan time.Time {
	over := make(chan time.Time, 1)
	over <- f.Now()
	return over
}

// switchStore is a store that can be unavailable, and counts its calls.
type switchStore struct {
	token.Store
	mu    sync.Mutex
	err   error
	calls int
	last  token.GrantID // of the last Create
}

func (s *switchStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *switchStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *switchStore) asked() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.err
}

func (s *switchStore) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	if err := s.asked(); err != nil {
		return err
	}
	s.mu.Lock()
	s.last = id
	s.mu.Unlock()
	return s.Store.Create(ctx, id, record, expireAt)
}

func (s *switchStore) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	if err := s.asked(); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, id)
}

func (s *switchStore) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	if err := s.asked(); err != nil {
		return err
	}
	return s.Store.Swap(ctx, id, was, next, expireAt, notAfter)
}

func (s *switchStore) Delete(ctx context.Context, id token.GrantID, was []byte) error {
	if err := s.asked(); err != nil {
		return err
	}
	return s.Store.Delete(ctx, id, was)
}

func (s *switchStore) Now(ctx context.Context) (time.Time, error) {
	if err := s.asked(); err != nil {
		return time.Time{}, err
	}
	return s.Store.Now(ctx)
}

// logBuffer keeps the log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// event returns the log event of a request. The answer can reach the caller
// before the event is written, so it is waited for.
func (l *logBuffer) event(t *testing.T, msg, requestID string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for line := range strings.Lines(l.text()) {
			var m map[string]any
			if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == msg && m["request_id"] == requestID {
				return m
			}
		}
	}
	t.Fatalf("no log event %q for request %s in:\n%s", msg, requestID, l.text())
	return nil
}
