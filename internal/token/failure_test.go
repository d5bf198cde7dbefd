package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/keyring"
)

// outOfReach fails the test unless err is APIG.0613 that asks to come back
// within from and to.
func outOfReach(t *testing.T, what string, err error, from, to time.Duration) {
	t.Helper()
	var e *apierr.Error
	if !errors.As(err, &e) || e.Row != apierr.Unavailable {
		t.Errorf("%s: %v, want APIG.0613", what, err)
		return
	}
	if e.RetryAfter < from || e.RetryAfter > to {
		t.Errorf("%s: Retry-After %v, want %v to %v", what, e.RetryAfter, from, to)
	}
	if e.Cause == nil {
		t.Errorf("%s: no cause for the log", what)
	}
}

// everything is one call of each kind, on tokens that are good.
func everything(w *world, p pair) map[string]func() error {
	ctx := w.t.Context()
	return map[string]func() error{
		"issue":          func() error { _, err := w.m.Issue(ctx, w.as(keyA), "", ""); return err },
		"refresh":        func() error { _, err := w.refresh(keyA, p.refresh, "", ""); return err },
		"inspect":        func() error { _, err := w.m.Inspect(ctx, p.access); return err },
		"revoke refresh": func() error { _, err := w.m.Revoke(ctx, w.as(keyA), p.refresh); return err },
		"revoke access":  func() error { _, err := w.m.Revoke(ctx, w.as(keyA), p.access); return err },
	}
}

func TestAStoreOutOfReachIs0613(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // Issue pauses between its attempts
		for name := range everything(newWorld(t), pair{}) {
			for range 30 { // Retry-After is drawn by lot
				w := newWorld(t)
				p := w.issue(keyA)
				w.kinds()
				for _, op := range []string{"create", "get", "swap", "delete"} {
					w.store.fail(op, failBefore, failBefore, failBefore)
				}
				outOfReach(t, name, everything(w, p)[name](), time.Second, 5*time.Second)
				if es := w.kinds(); len(es) != 0 {
					t.Errorf("%s: events %v of something that did not happen", name, es)
				}
			}
		}
	})
}

func TestARefreshIsAskedBackWithinHalfTheGrace(t *testing.T) {
	for _, grace := range []time.Duration{2 * time.Second, time.Second, 500 * time.Millisecond, 0} {
		for _, broken := range []string{"get", "swap", "clock"} {
			w := newWorld(t)
			p := w.issue(keyA)
			w.m.cfg.Grace = grace
			if broken == "clock" {
				w.m.cfg.Clock = NewClock(w.clock.Now)
			}
			w.store.fail(broken, failBefore)
			_, err := w.refresh(keyA, p.refresh, "", "")
			outOfReach(t, broken, err, 0, grace/2)
		}
	}
}

func TestAnUnreadableRecordIs0613(t *testing.T) {
	for name := range everything(newWorld(t), pair{}) {
		if name == "issue" {
			continue
		}
		for what, spoil := range map[string]func([]byte) []byte{
			"of an older version": func(b []byte) []byte { return with(b, 0, recordVersion-1) },
			"of a newer version":  func(b []byte) []byte { return with(b, 0, recordVersion+1) },
			"cut off":             func(b []byte) []byte { return b[:len(b)-1] },
			"empty":               func([]byte) []byte { return []byte{} },
		} {
			w := newWorld(t)
			p := w.issue(keyA)
			w.kinds()
			id := w.claims(p.access).Grant
			r := w.store.peek(id)
			r.bytes = spoil(r.bytes)
			w.store.restore(id, r)
			w.store.ops()

			outOfReach(t, name+", "+what, everything(w, p)[name](), time.Second, 5*time.Second)
			if ops := w.store.ops(); !slices.Equal(ops, []string{"get"}) {
				t.Errorf("%s, %s: calls %v, want the get alone", name, what, ops)
			}
			if es := w.kinds(); len(es) != 0 {
				t.Errorf("%s, %s: events %v", name, what, es)
			}
		}
	}
}

// A damaged record may look like that of another serial, in which a good token is a replay.
// So nothing is concluded from one, whichever bit it is.
func TestEveryFlippedBitOfARecordIs0613(t *testing.T) {
	w := newWorld(t)
	first := w.issue(keyA)
	w.clock.Advance(time.Minute)
	p, err := w.refresh(keyA, first.refresh, "", "td")
	if err != nil {
		t.Fatal(err)
	}
	id := w.claims(p.access).Grant
	good := w.store.peek(id)
	w.kinds()
	w.store.ops()
	calls := everything(w, p)
	delete(calls, "issue")
	for bit := range len(good.bytes) * 8 {
		bad := record{with(good.bytes, bit/8, good.bytes[bit/8]^1<<(bit%8)), good.expireAt}
		for name, call := range calls {
			w.store.restore(id, bad)
			outOfReach(t, fmt.Sprintf("%s, bit %d", name, bit), call(), time.Second, 5*time.Second)
			if ops, es := w.store.ops(), w.kinds(); !slices.Equal(ops, []string{"get"}) || len(es) != 0 {
				t.Fatalf("%s, bit %d: calls %v, events %v; want the get alone", name, bit, ops, es)
			}
		}
	}
	w.store.restore(id, good)
	for _, name := range []string{"inspect", "refresh", "revoke refresh"} {
		if err := calls[name](); err != nil {
			t.Errorf("the record as it was: %s: %v", name, err)
		}
	}
}

// A record under another grant's id is not that grant, though it is whole, and of the same
// app.
func TestARecordUnderAnotherGrantsIDIs0613(t *testing.T) {
	w := newWorld(t)
	p, other := w.issue(keyA), w.issue(keyA)
	for range 3 { // in the other's record, p's refresh token is a replay
		w.clock.Advance(time.Hour)
		other = w.mustRefresh(other.refresh)
	}
	w.clock.Advance(-3 * time.Hour)
	id := w.claims(p.access).Grant
	misplaced := w.store.peek(w.claims(other.access).Grant)
	w.kinds()
	w.store.ops()
	for name, call := range everything(w, p) {
		if name == "issue" {
			continue
		}
		w.store.restore(id, misplaced)
		outOfReach(t, name, call(), time.Second, 5*time.Second)
		if ops, es := w.store.ops(), w.kinds(); !slices.Equal(ops, []string{"get"}) || len(es) != 0 {
			t.Errorf("%s: calls %v, events %v; want the get alone", name, ops, es)
		}
	}
}

// beyond is a world in which it is now, by the clock of the store.
func beyond(t *testing.T, now time.Time) *world {
	t.Helper()
	w := newWorld(t)
	at(w, now)
	return w
}

// at changes the time of a world, which may be beyond what its hand can show.
func at(w *world, now time.Time) {
	w.t.Helper()
	w.store.now = func() time.Time { return now }
	w.m.cfg.Clock = NewClock(w.store.now)
	if err := w.m.cfg.Clock.Measure(w.t.Context(), w.store); err != nil {
		w.t.Fatal(err)
	}
	w.store.ops()
}

// No time wraps: an expiry that 32 bits of seconds can't hold is one like any other.
func TestTokensOfALaterCentury(t *testing.T) {
	for _, now := range []time.Time{
		time.Date(2038, 1, 19, 2, 30, 0, 0, time.UTC),              // ends after 31 bits of seconds
		time.Date(2106, 2, 7, 5, 30, 0, 0, time.UTC),               // ends after 32 bits
		time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC),              // 2^32 seconds
		time.Date(2262, 4, 11, 23, 50, 0, 0, time.UTC),             // ends after 63 bits of nanoseconds
		time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC), // the last that RFC 3339 can write
		time.UnixMilli(maxMillis - 31*24*3600_000),
	} {
		w := beyond(t, now)
		p := w.issue(keyA)
		i, err := w.m.Inspect(t.Context(), p.access)
		if err != nil || i.Reason != nil || i.IssuedAt != now.Unix() || i.ExpiresAt != now.Unix()+3600 {
			t.Errorf("%v: %+v, %v", now, i, err)
		}
		at(w, now.Add(time.Hour))
		if got := w.inspect(p.access); got != "1002" {
			t.Errorf("%v: an hour later it is %q, want 1002", now, got)
		}
		next := w.mustRefresh(p.refresh)
		if got := w.inspect(next.access); got != "" {
			t.Errorf("%v: after a refresh it is %q", now, got)
		}
	}
}

// What can't be encoded is unforeseen, APIG.0601, and nothing is written: the grant goes on
// as it was.
func TestWhatCanNotBeEncodedIsNotWritten(t *testing.T) {
	last := time.UnixMilli(maxMillis)
	unforeseen := func(what string, w *world, err error, calls ...string) {
		t.Helper()
		var re rangeError
		var row *apierr.Error
		if !errors.As(err, &re) || errors.As(err, &row) {
			t.Errorf("%s: %v, want a rangeError that no row answers", what, err)
		}
		if ops, es := w.store.ops(), w.kinds(); !slices.Equal(ops, calls) || len(es) != 0 {
			t.Errorf("%s: calls %v, events %v; want %v and no events", what, ops, es, calls)
		}
	}
	for _, now := range []time.Time{last.Add(time.Millisecond), last.Add(time.Hour), time.Unix(-1, 0)} {
		w := beyond(t, now)
		_, err := w.m.Issue(t.Context(), w.as(keyA), "", "")
		unforeseen(fmt.Sprintf("issue at %v", now), w, err)
	}
	w := beyond(t, last.Add(-time.Minute))
	p := w.issue(keyA)
	w.kinds()
	at(w, last.Add(time.Millisecond))
	before := w.store.peek(w.claims(p.refresh).Grant)
	_, err := w.refresh(keyA, p.refresh, "", "")
	unforeseen("refresh", w, err, "get")
	if after := w.store.peek(w.claims(p.refresh).Grant); string(after.bytes) != string(before.bytes) {
		t.Error("the grant was changed")
	}
	at(w, last)
	if _, err := w.refresh(keyA, p.refresh, "", ""); err != nil {
		t.Errorf("in time: %v", err)
	}
}

func TestAStoreThatBreaksItsContractIsNotCalledUnavailable(t *testing.T) {
	w := newWorld(t)
	strange := errors.New("strange")
	if err := w.m.unavailable(strange); !errors.Is(err, strange) || code(err) == "0613" {
		t.Errorf("%v; an error that no Store may return is unforeseen, not 0613", err)
	}
}

// What a token says of itself is enough to refuse it. Nothing here may cost a call of
// the store, and only an expiry needs the clock.
func TestJunkIsRefusedWithoutTheStore(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	expired := w.claims(p.refresh)
	expired.IssuedAt -= 7200_000
	expired.ExpiresAt = epoch.Unix() - int64(DefaultGrace/time.Second)
	expiredRT := minted(&expired, w.keys.Ring().Key(1))
	expired.Kind, expired.ExpiresAt = Access, epoch.Unix()
	expiredAT := minted(&expired, w.keys.Ring().Key(1))
	unknown := expired
	unknown.KeyID = 77

	ctx := t.Context()
	refresh := func(key, rt string) func() error {
		return func() error { _, err := w.refresh(key, rt, "", ""); return err }
	}
	inspect := func(at string) func() error {
		return func() error {
			i, err := w.m.Inspect(ctx, at)
			if err == nil && i.Reason != nil {
				err = i.Reason
			}
			return err
		}
	}
	revoke := func(key, tok string) func() error {
		return func() error { _, err := w.m.Revoke(ctx, w.as(key), tok); return err }
	}
	forged := func(tok string) string { return tok[:TokenLen-1] + string(tok[TokenLen-1]^1) }
	tests := []struct {
		name string
		call func() error
		want string
		late bool // the clock is needed
	}{
		{"refresh: malformed", refresh(keyA, "junk"), "2202", false},
		{"refresh: empty", refresh(keyA, ""), "2202", false},
		{"refresh: a megabyte", refresh(keyA, strings.Repeat("r", 1<<20)), "2202", false},
		{"refresh: forged", refresh(keyA, forged(p.refresh)), "2202", false},
		{"refresh: of an unknown key", refresh(keyA, "rt_"+minted(&unknown, fixedKey(77, 7, epoch).key())[3:]), "2202", false},
		{"refresh: an access token", refresh(keyA, p.access), "2202", false},
		{"refresh: an access token with its prefix changed", refresh(keyA, "rt_"+p.access[3:]), "2202", false},
		{"refresh: another app's", refresh(keyC, p.refresh), "1003", false},
		{"refresh: another app's, expired", refresh(keyC, expiredRT), "1003", false},
		{"refresh: expired, and the grace with it", refresh(keyA, expiredRT), "1001", true},
		{"inspect: malformed", inspect("junk"), "2203", false},
		{"inspect: forged", inspect(forged(p.access)), "2203", false},
		{"inspect: a refresh token", inspect(p.refresh), "2203", false},
		{"inspect: expired", inspect(expiredAT), "1002", true},
		{"revoke: malformed", revoke(keyA, "junk"), "", false},
		{"revoke: empty", revoke(keyA, ""), "", false},
		{"revoke: forged", revoke(keyA, forged(p.refresh)), "", false},
		{"revoke: another app's refresh token", revoke(keyC, p.refresh), "1003", false},
		{"revoke: another app's access token", revoke(keyC, p.access), "2203", false},
		{"revoke: an expired access token", revoke(keyA, expiredAT), "", true},
	}
	w.kinds()
	w.store.ops()
	known := w.m.cfg.Clock
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.m.cfg.Clock = known
			if got := code(tt.call()); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			w.m.cfg.Clock = NewClock(w.clock.Now) // not known
			want := tt.want
			if tt.late {
				want = "0613"
			}
			if got := code(tt.call()); got != want {
				t.Errorf("%q without a clock, want %q", got, want)
			}
			if ops, es := w.store.ops(), w.kinds(); len(ops) != 0 || len(es) != 0 {
				t.Errorf("calls %v, events %v; want none", ops, es)
			}
		})
	}
}

func TestNothingIsDecidedWithoutAClock(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.m.cfg.Clock = NewClock(w.clock.Now)
	w.store.ops()
	for name, call := range everything(w, p) {
		outOfReach(t, name, call(), time.Second, 5*time.Second)
		if ops := w.store.ops(); len(ops) != 0 {
			t.Errorf("%s: calls %v", name, ops)
		}
	}
}

func TestEveryAttemptToIssueTakesAFreshID(t *testing.T) {
	tests := []struct {
		name     string
		faults   []fault
		code     string
		attempts int
	}{
		{"none", nil, "", 1},
		{"lost before", []fault{failBefore}, "", 2},
		{"reply lost", []fault{failAfter}, "", 2},
		{"twice", []fault{failAfter, failBefore}, "", 3},
		{"three times", []fault{failAfter, failAfter, failAfter}, "0613", 3},
		{"always", []fault{failBefore, failBefore, failBefore, failBefore, failBefore}, "0613", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.store.fail("create", tt.faults...)
				tok, err := w.m.Issue(t.Context(), w.as(keyA), "", "")
				if code(err) != tt.code {
					t.Fatalf("%v, want %q", err, tt.code)
				}
				ids := map[GrantID]bool{}
				for _, c := range w.store.calls {
					if c.op != "create" {
						t.Errorf("a call of %s", c.op)
					}
					ids[c.id] = true
				}
				if len(w.store.calls) != tt.attempts || len(ids) != tt.attempts {
					t.Errorf("%d attempts under %d ids, want %d", len(w.store.calls), len(ids), tt.attempts)
				}
				if err != nil {
					if es := w.kinds(); len(es) != 0 {
						t.Errorf("events %v", es)
					}
					return
				}
				if id := w.claims(tok.Access).Grant; id != w.store.calls[tt.attempts-1].id {
					t.Error("the token is not of the last attempt's grant")
				}
				if c := w.inspect(tok.Access); c != "" {
					t.Errorf("the token is %q", c)
				}
				if es := w.kinds(); !slices.Equal(es, []EventKind{EventIssued}) {
					t.Errorf("events %v, want one", es)
				}
			})
		})
	}
}

func TestIssueGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		w.store.fail("create", failBefore)
		cancel()
		_, err := w.m.Issue(ctx, w.as(keyA), "", "")
		outOfReach(t, "issue", err, time.Second, 5*time.Second)
		if ops := w.store.ops(); len(ops) != 1 {
			t.Errorf("calls %v after the caller had gone", ops)
		}
	})
}

func TestASwapNeverLandsAfterItsCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a context's deadline is by the process clock
		w := newWorld(t)
		p := w.issue(keyA)

		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, _, err := w.m.Refresh(ctx, w.as(keyA), p.refresh, "", ""); err != nil {
			t.Fatal(err)
		}
		if got, want := w.store.lastNotAfter, w.clock.Now().Add(300*time.Millisecond); !got.Equal(want) {
			t.Errorf("not after %v, want the deadline by the store's clock, %v", got, want)
		}

		if _, err := w.m.Revoke(ctx, w.as(keyA), p.access); err != nil {
			t.Fatal(err)
		}
		if got, want := w.store.lastNotAfter, w.clock.Now().Add(300*time.Millisecond); !got.Equal(want) {
			t.Errorf("revoking: not after %v, want %v", got, want)
		}

		p = w.issue(keyA)
		if _, _, err := w.m.Refresh(context.WithoutCancel(ctx), w.as(keyA), p.refresh, "", ""); err != nil {
			t.Fatal(err)
		}
		if got, want := w.store.lastNotAfter, w.clock.Now().Add(swapPatience); !got.Equal(want) {
			t.Errorf("without a deadline: not after %v, want %v", got, want)
		}

		// The store is reached only when the deadline has passed by its clock.
		p = w.issue(keyA)
		w.store.onSwap = func() { w.clock.Advance(time.Second) }
		_, _, err := w.m.Refresh(ctx, w.as(keyA), p.refresh, "", "")
		outOfReach(t, "refresh", err, time.Second, 5*time.Second)
		if g := w.grant(p.refresh); g.Serial != 1 {
			t.Error("a swap landed late")
		}
	})
}

func TestALostReplyIsMadeUpForByTheRetry(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.kinds()
	w.store.fail("swap", failAfter)
	_, err := w.refresh(keyA, p.refresh, "", "")
	outOfReach(t, "refresh", err, time.Second, 5*time.Second)
	if es := w.kinds(); len(es) != 0 {
		t.Errorf("events %v of a refresh that may not have happened", es)
	}
	w.clock.Advance(DefaultGrace - time.Millisecond)
	got := w.mustRefresh(p.refresh)
	if c := w.claims(got.refresh); c.Serial != 2 {
		t.Errorf("serial %d, want 2", c.Serial)
	}
	if w.mustRefresh(p.refresh) != got {
		t.Error("a second retry gets another pair")
	}
	if es := w.kinds(); !slices.Equal(es, []EventKind{EventRefreshRepeated, EventRefreshRepeated}) {
		t.Errorf("events %v", es)
	}
}

func TestALostSwapLooksAgain(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.kinds()
	w.store.ops()
	w.store.fail("swap", spuriousClash, spuriousClash, spuriousClash)
	w.mustRefresh(p.refresh)
	want := []string{"get", "swap", "get", "swap", "get", "swap", "get", "swap"}
	if ops := w.store.ops(); !slices.Equal(ops, want) {
		t.Errorf("calls %v, want %v", ops, want)
	}
	if es := w.kinds(); !slices.Equal(es, []EventKind{EventRefreshed}) {
		t.Errorf("events %v, want one", es)
	}

	w.store.fail("swap", spuriousClash)
	if _, err := w.m.Revoke(t.Context(), w.as(keyA), p.access); err != nil {
		t.Fatal(err)
	}
	if ops := w.store.ops(); !slices.Equal(ops, want[:4]) {
		t.Errorf("revoking: calls %v, want %v", ops, want[:4])
	}
	if es := w.kinds(); !slices.Equal(es, []EventKind{EventRevoked}) {
		t.Errorf("revoking: events %v, want one", es)
	}
}

// A storm of conflicts ends with the context, not before it and not after it.
func TestAConflictStormEndsWithTheContext(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.kinds()
	w.store.ops()
	w.store.fail("swap", slices.Repeat([]fault{spuriousClash}, 1000)...)
	ctx, cancel := context.WithCancel(t.Context())
	lost := 0
	var again func()
	again = func() {
		if lost++; lost == 50 {
			cancel()
			return
		}
		w.store.onSwap = again
	}
	w.store.onSwap = again
	_, _, err := w.m.Refresh(ctx, w.as(keyA), p.refresh, "", "")
	outOfReach(t, "refresh", err, time.Second, 5*time.Second)
	if n := len(w.store.ops()); n != 100 {
		t.Errorf("%d calls, want 50 looks and 50 swaps", n)
	}
	if es := w.kinds(); len(es) != 0 {
		t.Errorf("events %v", es)
	}
}

func TestAReplayWhoseDeleteFailsIs0613AndNoEvent(t *testing.T) {
	w := newWorld(t)
	first := w.issue(keyA)
	second := w.mustRefresh(first.refresh)
	w.clock.Advance(DefaultGrace)
	w.kinds()
	for _, f := range []fault{failBefore, failAfter} {
		w.store.fail("delete", f)
		_, err := w.refresh(keyA, first.refresh, "", "")
		outOfReach(t, "replay", err, time.Second, 5*time.Second)
		if es := w.kinds(); len(es) != 0 {
			t.Errorf("events %v", es)
		}
		if gone := w.grant(second.refresh) == nil; gone != (f == failAfter) {
			t.Errorf("fault %d: the grant is gone: %v", f, gone)
		}
	}
}

func TestEventsAreToldOnceAndInOrder(t *testing.T) {
	w := newWorld(t)
	type told struct {
		kind EventKind
		app  string
		of   string // the token whose jti it carries
	}
	check := func(what string, want ...told) {
		t.Helper()
		var ws []Event
		for _, e := range want {
			c := w.claims(e.of)
			ws = append(ws, Event{e.kind, e.app, c.JTI()})
		}
		if !slices.Equal(w.events, ws) {
			t.Errorf("%s: events %v, want %v", what, w.events, ws)
		}
		w.events = nil
	}
	first := w.issue(keyA)
	check("issue", told{EventIssued, keyA, first.access})
	old := w.store.peek(w.claims(first.access).Grant)
	second := w.mustRefresh(first.refresh)
	check("refresh", told{EventRefreshed, keyA, first.refresh})
	w.mustRefresh(first.refresh)
	check("repeat", told{EventRefreshRepeated, keyA, first.refresh})
	w.inspect(second.access)
	check("inspect")
	_, _ = w.refresh(keyA, second.refresh, "admin", "")
	check("refused")
	_, _ = w.refresh(keyB, second.refresh, "", "")
	check("another app")

	w.store.restore(w.claims(first.access).Grant, old) // failover
	third := w.mustRefresh(second.refresh)
	check("heal", told{EventGrantHealed, keyA, second.refresh}, told{EventRefreshed, keyA, second.refresh})

	if _, err := w.m.Revoke(t.Context(), w.as(keyA), third.access); err != nil {
		t.Fatal(err)
	}
	check("revoke access", told{EventRevoked, keyA, third.access})
	_, _ = w.m.Revoke(t.Context(), w.as(keyA), third.access)
	check("revoke what is revoked")

	w.clock.Advance(DefaultGrace)
	_, _ = w.refresh(keyA, first.refresh, "", "")
	check("what the heal jumped over")
	_, _ = w.refresh(keyA, second.refresh, "", "")
	check("replay", told{EventRefreshReplayed, keyA, second.refresh})
	_, _ = w.refresh(keyA, second.refresh, "", "")
	check("replay of what is gone")

	last := w.issue(keyA)
	w.events = nil
	if _, err := w.m.Revoke(t.Context(), w.as(keyA), last.refresh); err != nil {
		t.Fatal(err)
	}
	check("revoke refresh", told{EventRevoked, keyA, last.refresh})
	_, _ = w.m.Revoke(t.Context(), w.as(keyA), last.refresh)
	check("revoke what is gone")
}

// Two keys can share a tag, so the grant's own app decides, and nothing happens.
func TestTheGrantsAppDecidesWhereTagsCollide(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.kinds()
	w.store.ops()
	if _, err := w.refresh(keyB, p.refresh, "", ""); code(err) != "1003" {
		t.Errorf("refresh: %v, want 1003", err)
	}
	if _, err := w.m.Revoke(t.Context(), w.as(keyB), p.refresh); code(err) != "1003" {
		t.Errorf("revoking the refresh token: %v, want 1003", err)
	}
	if _, err := w.m.Revoke(t.Context(), w.as(keyB), p.access); code(err) != "2203" {
		t.Errorf("revoking the access token: %v, want 2203", err)
	}
	if ops := w.store.ops(); !slices.Equal(ops, []string{"get", "get", "get"}) {
		t.Errorf("calls %v, want three looks and no change", ops)
	}
	if w.inspect(p.access) != "" || len(w.kinds()) != 0 {
		t.Error("something happened")
	}
}

// A grant of a newer generation tells that the list of apps is old.
func TestAnOldListOfAppsIsReadAgain(t *testing.T) {
	w := newWorld(t)
	old := w.changed(keyA, func(*app.App) {})
	w.change(keyA, func(a *app.App) { a.Generation = 3 })
	newer := w.changed(keyA, func(*app.App) {})
	p := w.issue(keyA)

	refresh := func(want string, reloads int) {
		t.Helper()
		w.reloads = 0
		if _, err := w.refresh(keyA, p.refresh, "", ""); code(err) != want || w.reloads != reloads {
			t.Errorf("refresh: %v after %d reloads, want %q after %d", err, w.reloads, want, reloads)
		}
	}
	inspect := func(want string, reloads int) {
		t.Helper()
		w.reloads = 0
		if got := w.inspect(p.access); got != want || w.reloads != reloads {
			t.Errorf("inspect: %q after %d reloads, want %q after %d", got, w.reloads, want, reloads)
		}
	}
	finds := func(list []app.App) {
		w.registry.OnReload = func(context.Context) {
			w.reloads++
			if err := w.registry.Replace(list); err != nil {
				t.Error(err)
			}
		}
	}
	inspect("", 0)
	refresh("", 0)

	for name, list := range map[string][]app.App{"the newer list is found": newer, "none is found": old} {
		t.Log(name)
		finds(list)
		w.restart(old)
		inspect("", 1)
		w.restart(old)
		refresh("", 1)
	}

	w.restart(old)
	finds(slices.DeleteFunc(slices.Clone(newer), func(a app.App) bool { return a.Key == keyA }))
	inspect("1004", 1)
	w.restart(old)
	refresh("2202", 1)

	// The newer list decides: there the app's tokens have been revoked.
	w.restart(newer)
	w.change(keyA, func(a *app.App) { a.Generation = 4 })
	revoked := w.changed(keyA, func(*app.App) {})
	w.restart(old)
	finds(revoked)
	refresh("2202", 1)
	w.restart(old)
	inspect("2203", 1)

	inspect("2203", 0)
	refresh("2202", 0)
}

func TestARepeatWithoutTheKeyOfThePairIs0613(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	// Another process has rotated with a key that this one has yet to hear of.
	newer := ringOf(firstKey, fixedKey(2, 2, epoch))
	here := w.keys
	w.m.cfg.Keys = keyring.NewCurrent(newer, nil)
	w.clock.Advance(time.Second)
	want := w.mustRefresh(p.refresh)

	w.m.cfg.Keys = here
	w.kinds()
	_, err := w.refresh(keyA, p.refresh, "", "")
	outOfReach(t, "repeat", err, time.Second, 5*time.Second)
	if es := w.kinds(); len(es) != 0 {
		t.Errorf("events %v", es)
	}

	reloads := 0
	var keys *keyring.Current
	keys = keyring.NewCurrent(here.Ring(), func(context.Context) { reloads++; _ = keys.Replace(newer, w.clock.Now()) })
	w.m.cfg.Keys = keys
	if got := w.mustRefresh(p.refresh); got != want || reloads != 1 {
		t.Errorf("pair %v after %d reloads, want %v after 1", got, reloads, want)
	}
}

func TestAKeyringThatDropsAKeyEndsItsTokens(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	next, _, err := ringOf(firstKey, fixedKey(2, 2, epoch)).Drop(1, w.clock.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.keys.Replace(next, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.refresh(keyA, p.refresh, "", ""); code(err) != "2202" || w.inspect(p.access) != "2203" {
		t.Errorf("refresh %v, inspect %q; want 2202, 2203", err, w.inspect(p.access))
	}
}

func TestAppsHaveLifetimesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.change(keyA, func(a *app.App) { a.AccessTTL, a.RefreshTTL = 10*time.Second, 20*time.Second })
	w.change(keyB, func(a *app.App) { a.RefreshTTL = 30 * time.Second })
	for _, tt := range []struct {
		key             string
		access, refresh time.Duration
	}{
		{keyA, 10 * time.Second, 20 * time.Second},
		{keyB, DefaultAccessTTL, 30 * time.Second},
		{keyC, DefaultAccessTTL, DefaultRefreshTTL},
	} {
		tok, err := w.m.Issue(t.Context(), w.as(tt.key), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if tok.AccessExpiresIn != tt.access || tok.RefreshExpiresIn != tt.refresh {
			t.Errorf("%s: %v and %v, want %v and %v", tt.key, tok.AccessExpiresIn, tok.RefreshExpiresIn, tt.access, tt.refresh)
		}
		if g := w.grant(tok.Access); g.KeepUntil != epoch.Unix()+int64(max(tt.access, tt.refresh)/time.Second) {
			t.Errorf("%s: keep-until %d", tt.key, g.KeepUntil)
		}
	}
}

// A repeat is the same pair with less time left.
func TestExpiresInOfARepeatIsWhatRemains(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	want := w.mustRefresh(p.refresh)
	w.clock.Advance(59 * time.Second)
	tok, _, err := w.m.Refresh(t.Context(), w.as(keyA), p.refresh, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if (pair{tok.Access, tok.Refresh}) != want {
		t.Error("the pair is another")
	}
	if tok.AccessExpiresIn != 3541*time.Second || tok.RefreshExpiresIn != 7141*time.Second {
		t.Errorf("%v and %v are left, want 3541 s and 7141 s", tok.AccessExpiresIn, tok.RefreshExpiresIn)
	}
}

func TestInspectionOfAnActiveToken(t *testing.T) {
	w := newWorld(t)
	tok, err := w.m.Issue(t.Context(), w.as(keyA), "orders.write", "td")
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Hour - time.Second)
	got, err := w.m.Inspect(t.Context(), tok.Access)
	c := w.claims(tok.Access)
	want := Inspection{
		Presented: Presented{JTI: c.JTI(), AppKey: keyA}, Scope: "orders.write", ThroughData: "td",
		IssuedAt: epoch.Unix(), ExpiresAt: epoch.Unix() + 3600,
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// lateStore finds the first swaps late, and counts how often it is asked its time.
type lateStore struct {
	Store
	late, asked int
}

func (s *lateStore) Swap(ctx context.Context, id GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	if s.late > 0 {
		s.late--
		return ErrLate
	}
	return s.Store.Swap(ctx, id, was, next, expireAt, notAfter)
}

func (s *lateStore) Now(ctx context.Context) (time.Time, error) {
	s.asked++
	return s.Store.Now(ctx)
}

// A swap that is late though its request has time left tells that the store's
// clock has stepped, as in a failover: it is measured again, once, and the request
// goes on.
func TestALateSwapHasTheClockMeasured(t *testing.T) {
	for late, want := range []string{"", "", "0613"} {
		w := newWorld(t)
		p := w.issue(keyA)
		s := &lateStore{Store: w.store}
		w.m.cfg.Store = s
		measured := 2 * min(late, 1) // which reads the time twice
		s.late = late
		if _, err := w.refresh(keyA, p.refresh, "", ""); code(err) != want || s.asked != measured {
			t.Errorf("refresh, %d swaps late: the time was asked for: %v after %d; want %q after %d", late, err, s.asked, want, measured)
		}
		s.late, s.asked = late, 0
		if _, err := w.m.Revoke(t.Context(), w.as(keyA), p.access); code(err) != want || s.asked != measured {
			t.Errorf("revoke, %d swaps late: the time was asked for: %v after %d; want %q after %d", late, err, s.asked, want, measured)
		}
	}
}

// slowStore takes its time to read.
type slowStore struct {
	Store
	read func()
}

func (s slowStore) Get(ctx context.Context, id GrantID) ([]byte, error) {
	s.read()
	return s.Store.Get(ctx, id)
}

// The time that reading the grant took is not taken off the swap's twice.
func TestASwapHasUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.issue(keyA)
		w.m.cfg.Store = slowStore{w.store, func() {
			time.Sleep(200 * time.Millisecond) // of the bubble's clock
			w.clock.Advance(200 * time.Millisecond)
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, _, err := w.m.Refresh(ctx, w.as(keyA), p.refresh, "", ""); err != nil {
			t.Error(err)
		}
	})
}
