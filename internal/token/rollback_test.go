package token

import (
	"errors"
	"slices"
	"testing"
	"time"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// The histories in which a store that goes back to an earlier state used to end a grant, or
// to let live what had ended: each is one that the exhaustive model found.

// held is what the store has of a token's grant; back puts it back.
func (w *world) held(tok string) record { return w.store.peek(w.claims(tok).Grant) }

func (w *world) back(tok string, r record) { w.store.restore(w.claims(tok).Grant, r) }

// refused fails the test unless a refresh by keyA is refused with a code and, in words,
// because of a cause, and the grant is as before.
func (w *world) refused(rt, scope, td, want, because string) {
	w.t.Helper()
	before := w.held(rt)
	w.kinds()
	if _, err := w.refresh(keyA, rt, scope, td); code(err) != want || hint(err) != because {
		w.t.Errorf("refused with %v, want %s: %s", err, want, because)
	}
	if after := w.held(rt); string(after.bytes) != string(before.bytes) {
		w.t.Error("what was refused changed the grant")
	}
	if k := w.kinds(); len(k) != 0 {
		w.t.Errorf("what was refused led to the events %v", k)
	}
}

func lostLine() string { return errRefreshLost().Hint }
func changed() string  { return errRefreshChanged().Hint }

func TestTwoHoldersAndARollback(t *testing.T) {
	w := newWorld(t)
	step := func() { w.clock.Advance(time.Second) }
	first := w.issue(keyA)
	old := w.held(first.refresh)
	step()
	c1 := w.mustRefresh(first.refresh)
	step()
	c1 = w.mustRefresh(c1.refresh) // serial 3
	w.back(first.refresh, old)
	step()
	c2 := w.mustRefresh(first.refresh) // another serial 2
	step()
	c1 = w.mustRefresh(c1.refresh) // heals, 4
	step()
	c1 = w.mustRefresh(c1.refresh) // 5
	step()
	w.refused(c2.refresh, "", "", "2202", lostLine())
	w.clock.Advance(DefaultGrace) // and it goes on being no replay
	w.refused(c2.refresh, "", "", "2202", lostLine())
	for range 5 {
		step()
		c1 = w.mustRefresh(c1.refresh)
	}
	w.refused(c2.refresh, "", "", "2202", lostLine())
	if w.inspect(c1.access) != "" {
		t.Error("the line that goes on is dead")
	}
	// The heal ended nothing of what a replay ends.
	w.clock.Advance(DefaultGrace)
	c1 = w.mustRefresh(c1.refresh)
	c1 = w.mustRefresh(c1.refresh)
	w.clock.Advance(DefaultGrace)
	if _, err := w.refresh(keyA, first.refresh, "", ""); code(err) != "2202" || w.grant(c1.refresh) != nil {
		t.Errorf("the first refresh token comes back: %v, and the grant lives", err)
	}
}

func TestTwoHoldersOfOneSerial(t *testing.T) {
	for _, grace := range []bool{false, true} {
		w := newWorld(t)
		first := w.issue(keyA)
		old := w.held(first.refresh)
		w.clock.Advance(time.Millisecond)
		c1 := w.mustRefresh(first.refresh)
		w.back(first.refresh, old)
		w.clock.Advance(time.Millisecond)
		c2 := w.mustRefresh(first.refresh)
		w.refused(c1.refresh, "", "", "2202", lostLine()) // n = s
		w.clock.Advance(time.Millisecond)
		if grace {
			w.clock.Advance(DefaultGrace)
		}
		c2 = w.mustRefresh(c2.refresh)
		if grace {
			w.clock.Advance(DefaultGrace)
		}
		w.refused(c1.refresh, "", "", "2202", lostLine()) // n = from
		if w.inspect(c2.access) != "" {
			t.Error("the line that goes on is dead")
		}
	}
}

// An access token of a serial that the store has lost is revoked, and an older refresh
// token is used.
func TestARevocationAfterARollback(t *testing.T) {
	w := newWorld(t)
	first := w.issue(keyA)
	old := w.held(first.refresh)
	w.clock.Advance(time.Second)
	c1 := w.mustRefresh(first.refresh)
	w.back(first.refresh, old)
	w.revoke(c1.access)
	w.clock.Advance(time.Second)

	w.store.fail("swap", failAfter) // its answer is lost
	if _, err := w.refresh(keyA, first.refresh, "", ""); code(err) != "0613" {
		t.Fatal(err)
	}
	w.clock.Advance(time.Second)
	next := w.mustRefresh(first.refresh)
	if again := w.mustRefresh(first.refresh); again != next {
		t.Error("the retry gets another pair")
	}
	if c := w.inspect(next.access); c != "" {
		t.Errorf("the new access token is dead on arrival: %s", c)
	}
	if c := w.inspect(c1.access); c != "2203" {
		t.Errorf("the revoked access token is %q", c)
	}
	if g := w.grant(next.refresh); g.Serial != 3 || g.From != 1 || g.LowestValid != 3 {
		t.Errorf("the grant is %+v", g)
	}
	w.refused(c1.refresh, "", "", "2202", lostLine()) // from < n < s
	for range 4 {
		w.clock.Advance(time.Second)
		next = w.mustRefresh(next.refresh)
	}
	w.clock.Advance(DefaultGrace)
	w.refused(c1.refresh, "", "", "2202", lostLine())
	if w.inspect(next.access) != "" || w.inspect(c1.access) != "2203" {
		t.Error("later, the revoked one lives, or the new one is dead")
	}
}

func TestAHealWhoseAnswerIsLost(t *testing.T) {
	w := newWorld(t)
	first := w.issue(keyA)
	old := w.held(first.refresh)
	w.clock.Advance(time.Second)
	c1 := w.mustRefresh(first.refresh)
	w.clock.Advance(time.Second)
	c1 = w.mustRefresh(c1.refresh)
	w.back(first.refresh, old)
	w.clock.Advance(time.Hour / 2)
	w.kinds()
	w.store.fail("swap", failAfter)
	if _, err := w.refresh(keyA, c1.refresh, "", ""); code(err) != "0613" {
		t.Fatal(err)
	}
	w.clock.Advance(DefaultGrace - time.Millisecond)
	next := w.mustRefresh(c1.refresh)
	if k := w.kinds(); !slices.Equal(k, []EventKind{EventRefreshRepeated}) {
		t.Errorf("the retry of a heal is %v", k)
	}
	if g := w.grant(next.refresh); w.claims(next.refresh).Serial != g.Serial || g.From != 3 {
		t.Errorf("the retry got serial %d of %+v", w.claims(next.refresh).Serial, g)
	}
	if again := w.mustRefresh(c1.refresh); again != next {
		t.Error("two retries get two pairs")
	}
	w.clock.Advance(time.Millisecond)
	if _, err := w.refresh(keyA, c1.refresh, "", ""); code(err) != "2202" || w.grant(next.refresh) != nil {
		t.Errorf("after the grace it is no replay: %v", err)
	}
}

// How long a lost rotation can be healed: docs/reliability.md has the figure.
func TestALostRotationIsHealedWhileTheOlderRecordIsKept(t *testing.T) {
	for kept, want := range map[time.Duration]string{
		2*time.Hour + 10*time.Minute - time.Second: "",
		2*time.Hour + 10*time.Minute:               "2202",
	} {
		w := newWorld(t)
		first := w.issue(keyA)
		old := w.held(first.refresh)
		w.clock.Advance(2*time.Hour - time.Second)
		c1 := w.mustRefresh(first.refresh)
		w.back(first.refresh, old)
		w.clock.Advance(time.Unix(epoch.Unix(), 0).Add(kept).Sub(w.clock.Now()))
		if _, err := w.refresh(keyA, c1.refresh, "", ""); code(err) != want {
			t.Errorf("%v after the last refresh that the store has: %v, want %q", kept, err, want)
		}
	}
}

func TestALostNarrowing(t *testing.T) {
	for name, tt := range map[string]struct {
		scope, td string
		cut       bool // the app has fewer scopes
	}{
		"scope":        {scope: "orders.read"},
		"through_data": {td: "tenant=2"},
		"both":         {scope: "orders.write", td: "tenant=2"},
		"the app's":    {cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tok, err := w.m.Issue(t.Context(), w.as(keyA), "", "tenant=1")
			if err != nil {
				t.Fatal(err)
			}
			wide := pair{tok.Access, tok.Refresh}
			old := w.held(wide.refresh)
			if tt.cut {
				w.change(keyA, func(a *app.App) { a.Scopes = []string{"orders.read"} })
			}
			w.clock.Advance(time.Second)
			narrow, err := w.refresh(keyA, wide.refresh, tt.scope, tt.td)
			if err != nil {
				t.Fatal(err)
			}
			want := *w.grant(narrow.refresh)
			if w.inspect(wide.access) != "2203" {
				t.Fatal("the wide access token lives")
			}
			w.back(wide.refresh, old)
			if c := w.inspect(narrow.access); c != "2203" {
				t.Errorf("the narrow access token is %q, and would be wide", c)
			}
			w.clock.Advance(time.Second)
			if !tt.cut {
				w.refused(narrow.refresh, "", "", "2202", changed())
				w.refused(narrow.refresh, "orders.read orders.write", "", "2202", changed())
				w.refused(narrow.refresh, "orders.read", "tenant=3", "2202", changed())
				w.refused(narrow.refresh, "admin", "", "2202", changed())
				w.refused(narrow.refresh, " ", tt.td, "2202", changed())
			}
			w.kinds()
			healed, err := w.refresh(keyA, narrow.refresh, tt.scope, tt.td)
			if err != nil {
				t.Fatal(err)
			}
			if k := w.kinds(); !slices.Equal(k, []EventKind{EventGrantHealed, EventRefreshed}) {
				t.Errorf("it is %v, want a heal", k)
			}
			if g := w.grant(healed.refresh); g.Scope != want.Scope || g.ThroughData != want.ThroughData {
				t.Errorf("healed to %q, %q; want %q, %q", g.Scope, g.ThroughData, want.Scope, want.ThroughData)
			}
			if w.inspect(healed.access) != "" || w.inspect(wide.access) != "2203" {
				t.Error("the healed access token is dead, or the wide one lives")
			}
			if again, err := w.refresh(keyA, narrow.refresh, tt.scope, tt.td); err != nil || again != healed {
				t.Errorf("its retry gets %v, %v", again, err)
			}
		})
	}
}

// The store goes back and goes on, wide, to the very serial that was narrow.
func TestALostNarrowingOfTheSerialThatTheGrantHas(t *testing.T) {
	for _, healsFirst := range []bool{false, true} {
		w := newWorld(t)
		first := w.issue(keyA)
		old := w.held(first.refresh)
		w.clock.Advance(time.Second)
		narrow, err := w.refresh(keyA, first.refresh, "orders.read", "")
		if err != nil {
			t.Fatal(err)
		}
		w.back(first.refresh, old)
		w.clock.Advance(time.Second)
		wide := w.mustRefresh(first.refresh)
		w.refused(narrow.refresh, "", "", "2202", changed())
		if w.inspect(narrow.access) != "2203" || w.inspect(wide.access) != "" {
			t.Error("the narrow access token is wide, or the wide one is dead")
		}
		w.clock.Advance(time.Second)
		if !healsFirst {
			next := w.mustRefresh(wide.refresh)
			w.refused(narrow.refresh, "orders.read", "", "2202", lostLine())
			_ = w.mustRefresh(next.refresh)
			continue
		}
		healed, err := w.refresh(keyA, narrow.refresh, "orders.read", "")
		if err != nil {
			t.Fatal(err)
		}
		if w.inspect(healed.access) != "" || w.inspect(wide.access) != "2203" {
			t.Error("the healed access token is dead, or the wide one lives")
		}
		w.refused(wide.refresh, "", "", "2202", lostLine())
		w.clock.Advance(2 * DefaultGrace)
		healed = w.mustRefresh(healed.refresh)
		healed = w.mustRefresh(healed.refresh)
		w.clock.Advance(2 * DefaultGrace)
		w.refused(wide.refresh, "", "", "2202", lostLine())
		_ = w.mustRefresh(healed.refresh)
	}
}

// A revocation does not ask whether a token has the scope that its grant has.
func TestWhatWasLostCanBeRevoked(t *testing.T) {
	for _, kind := range []Kind{Access, Refresh} {
		w := newWorld(t)
		first := w.issue(keyA)
		old := w.held(first.refresh)
		w.clock.Advance(time.Second)
		w.lifetimes(10*time.Hour, 20*time.Hour)
		narrow, err := w.refresh(keyA, first.refresh, "orders.read", "")
		if err != nil {
			t.Fatal(err)
		}
		w.back(first.refresh, old)
		w.lifetimes(DefaultAccessTTL, DefaultRefreshTTL)
		w.clock.Advance(time.Second)
		next := w.mustRefresh(first.refresh)
		w.kinds()
		w.revoke(map[Kind]string{Access: narrow.access, Refresh: narrow.refresh}[kind])
		if k := w.kinds(); !slices.Equal(k, []EventKind{EventRevoked}) {
			t.Errorf("%c: the revocation is %v", kind, k)
		}
		if g := w.grant(first.refresh); kind == Refresh && g != nil || kind == Access && g.LowestValid != 3 {
			t.Errorf("%c: the grant is %+v", kind, g)
		}
		if w.inspect(next.access) != "2203" {
			t.Errorf("%c: an access token that was revoked lives", kind)
		}
	}
}

// lifetimes is a process with other lifetimes that takes over.
func (w *world) lifetimes(access, refresh time.Duration) {
	w.m.cfg.AccessTTL, w.m.cfg.RefreshTTL = access, refresh
}

func TestALongerLifetimeIsNoForgery(t *testing.T) {
	w := newWorld(t)
	first := w.issue(keyA)
	old := w.held(first.refresh)
	w.clock.Advance(time.Second)
	w.lifetimes(20*time.Hour, 20*time.Hour)
	c1 := w.mustRefresh(first.refresh)
	w.back(first.refresh, old)
	w.lifetimes(30*time.Minute, 30*time.Minute)
	w.clock.Advance(time.Second)
	c2 := w.mustRefresh(first.refresh)

	// of the serial that the grant has, of the one before, and of an older one
	for range 3 {
		_, p, err := w.m.Refresh(t.Context(), w.as(keyA), c1.refresh, "", "")
		if code(err) != "2202" || hint(err) != lostLine() || p.AppKey != keyA {
			t.Errorf("refresh: %v, of %q", err, p.AppKey)
		}
		i, err := w.m.Inspect(t.Context(), c1.access)
		if err != nil || i.Reason == nil || code(i.Reason) != "2203" || i.Reason.Cause != nil || i.AppKey != keyA {
			t.Errorf("access token: %+v, %v", i, err)
		}
		w.clock.Advance(time.Second)
		c2 = w.mustRefresh(c2.refresh)
	}
	if w.inspect(c2.access) != "" {
		t.Error("the line that goes on is dead")
	}
}

// Who has a signing key of ours is held by what no token of ours says, whatever its serial.
func TestWhatNoTokenSays(t *testing.T) {
	const month = 30 * 24 * 3600
	longest := int64(MaxTTL / time.Second)
	for name, tt := range map[string]struct {
		change func(c *Claims, issued int64)
		asks   bool // the store is asked
	}{
		"lives for too long": {func(c *Claims, _ int64) { c.ExpiresAt = c.IssuedAt/1000 + longest + 1 }, false},
		"lives for 100 days": {func(c *Claims, _ int64) { c.ExpiresAt = c.IssuedAt/1000 + 100*24*3600 }, false},
		"outlives any grant": {func(c *Claims, issued int64) {
			c.ExpiresAt = issued + month + 1
			c.IssuedAt = (c.ExpiresAt - 3600) * 1000
		}, true},
		"is of 20 years from now": {func(c *Claims, _ int64) {
			c.ExpiresAt += 20 * 365 * 24 * 3600
			c.IssuedAt = (c.ExpiresAt - 3600) * 1000
		}, true},
		"is older than its grant":    {func(c *Claims, _ int64) { c.IssuedAt-- }, true},
		"is of before the first one": {func(c *Claims, _ int64) { c.Serial = 0 }, true},
		"is the last there can be":   {func(c *Claims, _ int64) { c.Serial = ^uint32(0) }, true},
	} {
		for _, serial := range []uint32{1, 2, 3, 99} {
			for _, kind := range []Kind{Access, Refresh} {
				w := newWorld(t)
				w.lifetimes(time.Hour, 2*time.Hour)
				first := w.issue(keyA)
				_ = w.mustRefresh(first.refresh) // the grant is at serial 2
				issued := w.grant(first.refresh).IssuedAt / 1000
				c := w.claims(map[Kind]string{Access: first.access, Refresh: first.refresh}[kind])
				c.Serial = serial
				tt.change(&c, issued)
				tok := minted(&c, w.keys.Ring().Key(c.KeyID))
				before := w.held(first.refresh)
				w.store.ops()
				w.kinds()
				want, got := map[Kind]string{Access: "2203", Refresh: "2202"}[kind], error(nil)
				if kind == Access {
					i, err := w.m.Inspect(t.Context(), tok)
					if err != nil || i.Reason == nil || i.AppKey != "" {
						t.Fatalf("%s, serial %d: %+v, %v", name, serial, i, err)
					}
					got = i.Reason
				} else {
					_, _, got = w.m.Refresh(t.Context(), w.as(keyA), tok, "", "")
				}
				e := (*apierr.Error)(nil)
				if !errors.As(got, &e) || code(got) != want || c.Serial > 0 && !errors.Is(e.Cause, errForged) {
					t.Errorf("%s, %c of serial %d: %v", name, kind, serial, got)
				}
				if asked := len(w.store.ops()) > 0; asked != tt.asks {
					t.Errorf("%s, %c of serial %d: the store is asked: %v", name, kind, serial, asked)
				}
				if i, err := w.m.Revoke(t.Context(), w.as(keyA), tok); err != nil || i.Reason == nil || code(i.Reason) != want {
					t.Errorf("%s, %c of serial %d: revoked: %+v, %v", name, kind, serial, i, err)
				}
				if string(w.held(first.refresh).bytes) != string(before.bytes) || len(w.kinds()) != 0 {
					t.Errorf("%s, %c of serial %d: the grant changed", name, kind, serial)
				}
			}
		}
	}
}

func TestARepeatIsNeverADeadPair(t *testing.T) {
	w := newWorld(t)
	w.lifetimes(20*time.Second, 10*time.Minute)
	first := w.issue(keyA)
	w.clock.Advance(time.Second)
	dead := w.mustRefresh(first.refresh)
	before := *w.grant(dead.refresh)
	w.clock.Advance(20 * time.Second) // in the second of its expiry
	w.kinds()
	tok, _, err := w.m.Refresh(t.Context(), w.as(keyA), first.refresh, "", "")
	if err != nil {
		t.Fatal(err)
	}
	got := pair{tok.Access, tok.Refresh}
	if got.refresh != dead.refresh || got.access == dead.access || tok.AccessExpiresIn != 20*time.Second {
		t.Errorf("the repeat is %v, for %v; the pair was %v", got, tok.AccessExpiresIn, dead)
	}
	if k := w.kinds(); !slices.Equal(k, []EventKind{EventRefreshRepeated}) {
		t.Errorf("events %v", k)
	}
	if w.inspect(got.access) != "" || w.inspect(dead.access) != "1002" {
		t.Error("the new access token is dead, or the old one lives")
	}
	want := before
	want.AccessExpires = before.AccessExpires + 20
	if g := *w.grant(dead.refresh); g != want {
		t.Errorf("the grant became %+v, want %+v", g, want)
	}
	w.clock.Advance(time.Second)
	if again := w.mustRefresh(first.refresh); again != got {
		t.Errorf("the next repeat is %v, want %v", again, got)
	}
	w.clock.Advance(19 * time.Second)
	third := w.mustRefresh(first.refresh)
	if third.refresh != got.refresh || third.access == got.access || w.inspect(third.access) != "" {
		t.Errorf("once that has expired too, the repeat is %v", third)
	}
	if next := w.mustRefresh(third.refresh); w.inspect(next.access) != "" {
		t.Error("the line does not go on")
	}
}

func TestARacedRenewalIsOne(t *testing.T) {
	for _, later := range []time.Duration{0, 500 * time.Millisecond} {
		w := newWorld(t)
		w.lifetimes(5*time.Second, time.Hour)
		first := w.issue(keyA)
		_ = w.mustRefresh(first.refresh)
		w.clock.Advance(10 * time.Second)
		var rival pair
		w.store.onSwap = func() {
			w.clock.Advance(later)
			rival = w.mustRefresh(first.refresh)
		}
		if mine := w.mustRefresh(first.refresh); mine != rival || w.inspect(mine.access) != "" {
			t.Errorf("two repeats, %v apart, got %v and %v", later, mine, rival)
		}
	}
}

func TestWhatARepeatCannotAnswer(t *testing.T) {
	t.Run("the access token was revoked", func(t *testing.T) {
		w := newWorld(t)
		first := w.issue(keyA)
		next := w.mustRefresh(first.refresh)
		w.revoke(next.access)
		w.refused(first.refresh, "", "", "2202", errSuccessorRevoked().Hint)
		w.clock.Advance(time.Second)
		if after := w.mustRefresh(next.refresh); w.inspect(after.access) != "" {
			t.Error("the line does not go on")
		}
	})
	t.Run("the refresh token has expired", func(t *testing.T) {
		w := newWorld(t)
		first := w.issue(keyA)
		w.lifetimes(time.Hour, 10*time.Second)
		_ = w.mustRefresh(first.refresh)
		w.clock.Advance(10 * time.Second)
		w.refused(first.refresh, "", "", "1001", errRefreshExpired().Hint)
	})
	t.Run("the grant is over", func(t *testing.T) {
		w := newWorld(t)
		w.lifetimes(20*time.Hour, 20*time.Hour)
		p := w.issue(keyA)
		for range 30*24/15 - 1 {
			w.clock.Advance(15 * time.Hour)
			p = w.mustRefresh(p.refresh)
		}
		w.clock.Advance(15*time.Hour - 10*time.Second)
		tok, _, err := w.m.Refresh(t.Context(), w.as(keyA), p.refresh, "", "")
		if err != nil || tok.AccessExpiresIn <= 0 || tok.AccessExpiresIn > 10*time.Second {
			t.Fatalf("ten seconds before its end: %+v, %v", tok, err)
		}
		w.clock.Advance(10 * time.Second)
		w.refused(p.refresh, "", "", "1001", errRefreshExpired().Hint)
	})
}
