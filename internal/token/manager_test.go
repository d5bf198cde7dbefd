package token

import (
	"slices"
	"testing"
	"time"

	"authsvc/internal/app"
)

// Who held the current token when it first looked is no replay, however far the
// grant has gone when it looks again.
func TestALoserOfARaceIsNoReplay(t *testing.T) {
	for name, rival := range map[string]func(*world, pair){
		"three rotations later": func(w *world, p pair) {
			w.mustRefresh(w.mustRefresh(w.mustRefresh(p.refresh).refresh).refresh)
		},
		"a grace later": func(w *world, p pair) {
			w.clock.Advance(time.Millisecond) // in the same one both would write the same bytes
			w.mustRefresh(p.refresh)
			w.clock.Advance(w.m.cfg.Grace)
		},
	} {
		w := newWorld(t)
		w.m.cfg.Grace = swapPatience / 2 // so that it can pass during a swap
		p := w.issue(keyA)
		w.kinds()
		w.store.onSwap = func() { rival(w, p) }
		if _, err := w.refresh(keyA, p.refresh, "", ""); code(err) != "2202" {
			t.Errorf("%s: %v, want 2202", name, err)
		}
		if w.grant(p.refresh) == nil || slices.Contains(w.kinds(), EventRefreshReplayed) {
			t.Errorf("%s: the grant was ended", name)
		}
		// The same token, presented once more, is a replay.
		if _, err := w.refresh(keyA, p.refresh, "", ""); code(err) != "2202" || w.grant(p.refresh) != nil {
			t.Errorf("%s: a replay went by: %v", name, err)
		}
	}
}

func TestARevokedRefreshTokenEndsItsGrantThoughItHasExpired(t *testing.T) {
	w := newWorld(t)
	w.change(keyA, func(a *app.App) { a.RefreshTTL = 40 * time.Second })
	p := w.issue(keyA)
	w.clock.Advance(10 * time.Minute)
	if w.inspect(p.access) != "" {
		t.Fatal("the access token should have outlived its refresh token")
	}
	if _, err := w.m.Revoke(t.Context(), w.as(keyA), p.refresh); err != nil {
		t.Fatal(err)
	}
	if got := w.inspect(p.access); got != "2203" {
		t.Errorf("the access token is %q, want 2203", got)
	}
}

// A refresh token may expire between a refresh and the retry of it.
func TestARetryIsAnsweredThoughTheTokenHasExpiredSince(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	expiry := time.Unix(w.claims(p.refresh).ExpiresAt, 0)
	w.clock.Advance(expiry.Add(-time.Second).Sub(w.clock.Now()))
	want := w.mustRefresh(p.refresh)
	w.clock.Advance(DefaultGrace - time.Millisecond)
	if got := w.mustRefresh(p.refresh); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	w.clock.Advance(time.Millisecond)
	if _, err := w.refresh(keyA, p.refresh, "", ""); code(err) != "1001" {
		t.Errorf("after the grace: %v, want 1001", err)
	}
	if w.grant(want.refresh) == nil {
		t.Error("an expired token ended the grant")
	}
}

func TestARefreshedPairIsIssuedWhenItIsRefreshed(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.clock.Advance(1000 * time.Second)
	for range 2 { // the rotation, and its repeat
		tok, _, err := w.m.Refresh(t.Context(), w.as(keyA), p.refresh, "", "")
		if err != nil {
			t.Fatal(err)
		}
		issued := epoch.Unix() + 1000
		if tok.AccessCreateAt.Unix() != issued || tok.RefreshCreateAt.Unix() != issued {
			t.Errorf("created at %v and %v", tok.AccessCreateAt, tok.RefreshCreateAt)
		}
		i, err := w.m.Inspect(t.Context(), tok.Access)
		if err != nil || i.IssuedAt != issued || i.ExpiresAt != issued+3600 {
			t.Errorf("%+v, %v; want issued at %d", i, err, issued)
		}
		if c := w.claims(tok.Refresh); c.Lifetime() != 7200 || c.IssuedAt/1000 != issued {
			t.Errorf("%+v", c)
		}
	}
}

// Without a change of scope or through_data an old access token lives to its own
// expiry, however often its grant is refreshed; with one it dies at once.
func TestOldAccessTokensLiveUntilSomethingChanges(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	old := []string{p.access}
	for range 5 {
		w.clock.Advance(time.Second)
		p = w.mustRefresh(p.refresh)
		old = append(old, p.access)
	}
	for i, at := range old {
		if got := w.inspect(at); got != "" {
			t.Errorf("access token %d is %q", i, got)
		}
	}
	next, err := w.refresh(keyA, p.refresh, "", "changed")
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range old {
		if got := w.inspect(at); got != "2203" {
			t.Errorf("access token %d is %q after the change, want 2203", i, got)
		}
	}
	if got := w.inspect(next.access); got != "" {
		t.Errorf("the new access token is %q", got)
	}
}

func TestARevokedAccessTokenTakesTheOlderOnesWithIt(t *testing.T) {
	w := newWorld(t)
	first := w.issue(keyA)
	second := w.mustRefresh(first.refresh)
	third := w.mustRefresh(second.refresh)
	if _, err := w.m.Revoke(t.Context(), w.as(keyA), second.access); err != nil {
		t.Fatal(err)
	}
	if a, b, c := w.inspect(first.access), w.inspect(second.access), w.inspect(third.access); a != "2203" || b != "2203" || c != "" {
		t.Errorf("%q, %q, %q; want 2203, 2203 and active", a, b, c)
	}
	w.clock.Advance(time.Second)
	if p := w.mustRefresh(third.refresh); w.inspect(p.access) != "" {
		t.Error("the grant no longer refreshes")
	}
}

func TestFreezingTouchesNoGrant(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.store.ops()
	w.change(keyA, func(a *app.App) { a.Frozen = true })
	if got := w.inspect(p.access); got != "0502" {
		t.Errorf("frozen: %q, want 0502", got)
	}
	w.change(keyA, func(a *app.App) { a.Frozen = false })
	if got := w.inspect(p.access); got != "" {
		t.Errorf("unfrozen: %q", got)
	}
	if ops := w.store.ops(); !slices.Equal(ops, []string{"get", "get"}) {
		t.Errorf("calls %v", ops)
	}
}
