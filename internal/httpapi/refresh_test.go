package httpapi_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/store/memory"
	"authsvc/internal/token"
)

// The refresh table over the wire, row by row, on memory and on a real Redis.
func TestRefreshTable(t *testing.T) {
	t.Parallel()
	stores := map[string]func(*testing.T, *fakeNow) token.Store{
		"memory": func(_ *testing.T, now *fakeNow) token.Store { return memory.New(now.Now) },
		"redis":  func(t *testing.T, _ *fakeNow) token.Store { return redisStore(t) },
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := &fakeNow{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
			s := newServiceOn(t, open(t, now), now)
			for _, row := range refreshRows {
				t.Run(row.name, func(t *testing.T) {
					s.t = t
					s.list = append([]app.App(nil), s.list...)
					restore := append([]app.App(nil), s.list...)
					defer func() {
						for i := range restore { // a generation never falls
							restore[i].Generation = s.list[i].Generation
						}
						s.list = restore
						if err := s.apps.Replace(restore); err != nil {
							t.Fatal(err)
						}
					}()
					row.run(t, s)
				})
			}
		})
	}
}

func (s *service) refreshing(key, refreshToken string, more ...string) received {
	s.t.Helper()
	return s.post("/oauth/token", key, values(append([]string{"grant_type", "refresh_token", "refresh_token", refreshToken}, more...)...))
}

func (s *service) active(tok string) bool {
	s.t.Helper()
	return s.introspect(tok).field("active") == true
}

// events is how often something happened to grants, as the log has it.
func (s *service) events(kind token.EventKind) int {
	return strings.Count(s.log.text(), `"msg":"`+string(kind)+`"`)
}

var refreshRows = []struct {
	name string
	run  func(*testing.T, *service)
}{
	{"no grant", func(t *testing.T, s *service) {
		p := s.issue(worker)
		s.post("/oauth/revoke", worker, values("token", p.refresh))
		checkFailure(t, s, s.refreshing(worker, p.refresh), apierr.RefreshTokenInvalid, "")
	}},
	{"another app's grant: nothing is written", func(t *testing.T, s *service) {
		p := s.issue(worker)
		s.refresh(worker, p)
		s.now.advance(2 * time.Minute) // for its owner this would be a replay
		checkFailure(t, s, s.refreshing(other, p.refresh), apierr.AppMismatch, "")
		if s.events(token.EventRefreshReplayed) != 0 || !s.active(p.access) {
			t.Error("another app's request did something to the grant")
		}
	}},
	{"generation older than the app's", func(t *testing.T, s *service) {
		p := s.issue(worker)
		s.setApp(worker, func(a *app.App) { a.Generation++ })
		checkFailure(t, s, s.refreshing(worker, p.refresh), apierr.RefreshTokenInvalid, "")
	}},
	{"generation newer than the app's: the app is read again", func(t *testing.T, s *service) {
		// Another process has read the newer list already.
		ahead := newServiceOn(t, s.store.Store, s.now)
		become := func(s *service, generation uint32) {
			s.setApp(worker, func(a *app.App) { a.Generation = generation })
		}
		defer func() { s.apps.OnReload = nil }()
		become(ahead, 7)
		p := ahead.issue(worker)
		s.apps.OnReload = func(context.Context) { become(s, 7) }
		if a := s.refreshing(worker, p.refresh); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
		become(ahead, 8)
		p = ahead.issue(worker)
		s.apps.OnReload = func(context.Context) { become(s, 9) }
		checkFailure(t, s, s.refreshing(worker, p.refresh), apierr.RefreshTokenInvalid, "")
	}},
	{"current, expired", func(t *testing.T, s *service) {
		p := s.issue(worker)
		s.now.advance(2*time.Hour - time.Second)
		next := s.refresh(worker, p)
		s.now.advance(2 * time.Hour)
		checkFailure(t, s, s.refreshing(worker, next.refresh), apierr.RefreshTokenExpired, "")
	}},
	{"current", func(t *testing.T, s *service) {
		p := s.issue(worker)
		q := s.refresh(worker, p)
		if q == p || !s.active(q.access) || !s.active(p.access) {
			t.Error("without a change of scope or through_data, old and new access tokens live")
		}
	}},
	{"previous, within the grace: the same pair", func(t *testing.T, s *service) {
		p := s.issue(worker, "through_data", "a")
		q := s.refresh(worker, p)
		s.now.advance(59 * time.Second)
		a := s.refreshing(worker, p.refresh, "scope", "orders.write orders.read", "through_data", "a")
		if (pair{a.text("access_token"), a.text("refresh_token")}) != q || a.field("expires_in") != 3541.0 {
			t.Errorf("%d %s", a.status, a.body)
		}
		checkFailure(t, s, s.refreshing(worker, p.refresh, "scope", "orders.read"), apierr.AuthParameterInvalid, "invalid_scope")
		checkFailure(t, s, s.refreshing(worker, p.refresh, "through_data", "b"), apierr.AuthParameterInvalid, "")
		if !s.active(q.access) {
			t.Error("a repetition changed something")
		}
	}},
	{"previous, expired since: the same pair", func(t *testing.T, s *service) {
		p := s.issue(worker)
		s.now.advance(2*time.Hour - time.Second)
		q := s.refresh(worker, p)
		s.now.advance(30 * time.Second)
		if got := s.refresh(worker, p); got != q {
			t.Error("the retry of a refresh gets another pair")
		}
		s.now.advance(30 * time.Second)
		checkFailure(t, s, s.refreshing(worker, p.refresh), apierr.RefreshTokenExpired, "")
		if !s.active(q.access) {
			t.Error("an expired token changed something")
		}
	}},
	{"the one before, within the grace of its rotation: nothing is deleted", func(t *testing.T, s *service) {
		p := s.issue(worker)
		r := s.refresh(worker, s.refresh(worker, p))
		s.now.advance(59 * time.Second)
		checkFailure(t, s, s.refreshing(worker, p.refresh), apierr.RefreshTokenInvalid, "")
		if !s.active(r.access) {
			t.Error("the grant was deleted")
		}
	}},
	{"older: a replay", func(t *testing.T, s *service) {
		before := s.events(token.EventRefreshReplayed)
		p := s.issue(worker)
		q := s.refresh(worker, p)
		s.now.advance(time.Minute)
		a := s.refreshing(worker, p.refresh)
		checkFailure(t, s, a, apierr.RefreshTokenInvalid, "")
		e := s.log.event(t, "refresh_replayed", a.header.Get("X-Request-Id"))
		if e["level"] != "WARN" || e["security"] != true || e["app"] != worker || s.events(token.EventRefreshReplayed) != before+1 {
			t.Errorf("event %v", e)
		}
		if s.active(q.access) {
			t.Error("the grant lives on")
		}
		checkFailure(t, s, s.refreshing(worker, q.refresh), apierr.RefreshTokenInvalid, "")
	}},
	{"newer than the store's: healed", func(t *testing.T, s *service) {
		ctx := context.Background()
		p := s.issue(worker)
		id := s.store.last
		old, err := s.store.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		q := s.refresh(worker, s.refresh(worker, p))
		// A failover to a replica that has seen neither rotation.
		current, err := s.store.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		clock := token.NewClock(s.now.Now)
		if err := clock.Measure(ctx, s.store); err != nil {
			t.Fatal(err)
		}
		now, err := clock.Now()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.store.Swap(ctx, id, current, old, now.Add(24*time.Hour), now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if !s.active(q.access) {
			t.Error("the access token of a lost rotation is not active")
		}
		a := s.refreshing(worker, q.refresh)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		s.log.event(t, "grant_healed", a.header.Get("X-Request-Id"))
		if again := s.refresh(worker, q); again.refresh != a.text("refresh_token") {
			t.Error("the retry of a healing refresh gets another pair")
		}
	}},
	{"narrowed for good", func(t *testing.T, s *service) {
		p := s.issue(worker)
		a := s.refreshing(worker, p.refresh, "scope", "orders.read")
		if a.text("scope") != "orders.read" || s.active(p.access) {
			t.Errorf("%s; old token active: %v", a.body, s.active(p.access))
		}
		a = s.refreshing(worker, a.text("refresh_token"), "scope", "default")
		if a.text("scope") != "orders.read" {
			t.Errorf("%s", a.body)
		}
		checkFailure(t, s, s.refreshing(worker, a.text("refresh_token"), "scope", "orders.read orders.write"), apierr.AuthParameterInvalid, "invalid_scope")
	}},
	{"cut to what the app has now", func(t *testing.T, s *service) {
		p := s.issue(worker)
		s.setApp(worker, func(a *app.App) { a.Scopes = []string{"orders.write", "orders.new"} })
		a := s.refreshing(worker, p.refresh)
		if a.text("scope") != "orders.write" || s.active(p.access) {
			t.Errorf("%s; old token active: %v", a.body, s.active(p.access))
		}
		s.setApp(worker, func(a *app.App) { a.Scopes = []string{"orders.new"} })
		checkFailure(t, s, s.refreshing(worker, a.text("refresh_token")), apierr.AuthParameterInvalid, "invalid_scope")
	}},
	{"20 racing callers", func(t *testing.T, s *service) {
		p := s.issue(worker)
		answers := make([]pair, 20)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = s.refresh(worker, p) })
		}
		wg.Wait()
		for _, a := range answers {
			if a != answers[0] {
				t.Fatal("two successors of one refresh token")
			}
		}
	}},
}
