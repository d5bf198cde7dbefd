package token

import (
	"context"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"authsvc/internal/app"
)

// callTakes is how long each call of a slow store takes: half of it before the call takes
// effect, half after it.
const callTakes = 20 * time.Millisecond

// slowCalls is a store whose calls take their time.
type slowCalls struct {
	Store
	calls int
}

func (s *slowCalls) takes() func() {
	s.calls++
	time.Sleep(callTakes / 2)
	return func() { time.Sleep(callTakes / 2) }
}

func (s *slowCalls) Get(ctx context.Context, id GrantID) ([]byte, error) {
	defer s.takes()()
	return s.Store.Get(ctx, id)
}

func (s *slowCalls) Swap(ctx context.Context, id GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	defer s.takes()()
	return s.Store.Swap(ctx, id, was, next, expireAt, notAfter)
}

func (s *slowCalls) Delete(ctx context.Context, id GrantID, was []byte) error {
	defer s.takes()()
	return s.Store.Delete(ctx, id, was)
}

// newTimedWorld returns a world in which time passes: it runs in a bubble of
// testing/synctest, whose clock every clock of the world is.
func newTimedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, fixedKey(1, 0x11, time.Now().Add(-time.Hour)))
	w.store.now = time.Now
	c := NewClock(time.Now)
	if err := c.Measure(t.Context(), w.store); err != nil {
		t.Fatal(err)
	}
	w.m = w.manager(c)
	return w
}

func (w *world) revokes(tok string) error {
	_, err := w.m.Revoke(w.t.Context(), w.as(keyA), tok)
	return err
}

// acknowledgment is a call, what comes before it, and how long it has to wait beyond its
// calls of the store.
type acknowledgment struct {
	name  string
	setUp func(*world) pair // the pair that the call is about; nil: a new one
	call  func(*world, pair) error
	code  string // of its answer
	waits time.Duration
}

// refreshing returns the call that refreshes, with a scope and a through_data.
func refreshing(scope, throughData string) func(*world, pair) error {
	return func(w *world, p pair) error {
		_, err := w.refresh(keyA, p.refresh, scope, throughData)
		return err
	}
}

func revokingAccess(w *world, p pair) error  { return w.revokes(p.access) }
func revokingRefresh(w *world, p pair) error { return w.revokes(p.refresh) }

// after returns a new pair with which something has been done.
func after(done func(*world, pair) error) func(*world) pair {
	return func(w *world) pair {
		w.t.Helper()
		p := w.issue(keyA)
		if err := done(w, p); err != nil {
			w.t.Fatal(err)
		}
		return p
	}
}

// racing returns a new pair whose next swap finds that another process was faster.
func racing(rival func(*world, pair) error) func(*world) pair {
	return func(w *world) pair {
		p := w.issue(keyA)
		w.store.onSwap = func() {
			time.Sleep(time.Millisecond) // in the same one both would write the same bytes
			if err := rival(w, p); err != nil {
				w.t.Error(err)
			}
		}
		return p
	}
}

// failing returns a new pair whose next call of an operation goes wrong.
func failing(op string, f fault) func(*world) pair {
	return func(w *world) pair {
		p := w.issue(keyA)
		w.store.fail(op, f)
		return p
	}
}

func cutApp(w *world) {
	w.change(keyA, func(a *app.App) { a.Scopes = []string{"orders.read"} })
}

func waits(d time.Duration) func(*world, pair) error {
	return func(*world, pair) error { time.Sleep(d); return nil }
}

func both(first, second func(*world, pair) error) func(*world, pair) error {
	return func(w *world, p pair) error {
		if err := first(w, p); err != nil {
			return err
		}
		return second(w, p)
	}
}

const (
	narrow1 = "orders.read"
	ends    = 300 * time.Millisecond
	kills   = 500 * time.Millisecond
)

var acknowledgments = []acknowledgment{
	// What ends tokens, or finds that done.
	{"revoke an access token", nil, revokingAccess, "", ends},
	{"and once more", after(revokingAccess), revokingAccess, "", ends},
	{"revoke an access token before one that is revoked", after(func(w *world, p pair) error { return w.revokes(w.mustRefresh(p.refresh).access) }), revokingAccess, "", ends},
	{"revoke an access token that was narrowed away", after(refreshing(narrow1, "")), revokingAccess, "", ends},
	{"revoke an access token that has expired", after(waits(DefaultAccessTTL)), revokingAccess, "", ends},
	{"revoke an access token whose grant is gone", after(revokingRefresh), revokingAccess, "", ends},
	{"revoke a refresh token", nil, revokingRefresh, "", ends},
	{"and once more", after(revokingRefresh), revokingRefresh, "", ends},
	{"revoke a refresh token that was used", after(refreshing("", "")), revokingRefresh, "", ends},
	{"revoke a refresh token that has expired", after(waits(DefaultRefreshTTL)), revokingRefresh, "", ends},
	{"revoke a refresh token that the store has forgotten", after(waits(DefaultRefreshTTL + storeSlack)), revokingRefresh, "", ends},
	{"revoke in a race with a refresh", racing(refreshing("", "")), revokingAccess, "", ends},
	{"narrow the scope", nil, refreshing(narrow1, ""), "", ends},
	{"and once more", after(refreshing(narrow1, "")), refreshing(narrow1, ""), "", ends},
	{"its repeat, without a scope", after(refreshing(narrow1, "")), refreshing("", ""), "", ends},
	{"its repeat, with the wide scope", after(refreshing(narrow1, "")), refreshing("orders.read orders.write", ""), "2205", ends},
	{"give through_data", nil, refreshing("", "a"), "", ends},
	{"and once more", after(refreshing("", "a")), refreshing("", "a"), "", ends},
	{"narrow the scope after a revocation", after(revokingAccess), refreshing(narrow1, ""), "", ends},
	{"and once more", after(both(revokingAccess, refreshing(narrow1, ""))), refreshing(narrow1, ""), "", ends},
	{"its repeat, after the new access token was revoked", after(func(w *world, p pair) error {
		next, err := w.refresh(keyA, p.refresh, narrow1, "")
		if err != nil {
			return err
		}
		return w.revokes(next.access)
	}), refreshing("", ""), "any", ends},
	{"refresh when the app has less", after(func(w *world, _ pair) error { cutApp(w); return nil }), refreshing("", ""), "", ends},
	{"and once more", after(func(w *world, p pair) error { cutApp(w); return refreshing("", "")(w, p) }), refreshing("", ""), "", ends},
	{"lose a race to a rotation that narrows", racing(refreshing(narrow1, "")), refreshing("", ""), "", ends},
	{"lose a race to a rotation that narrows as this one", racing(refreshing(narrow1, "")), refreshing(narrow1, ""), "", ends},
	{"lose a race to a rotation that narrows otherwise", racing(refreshing(narrow1, "")), refreshing("orders.write", ""), "2205", ends},
	{"lose a race to two rotations, the first of which narrows", racing(func(w *world, p pair) error {
		next, err := w.refresh(keyA, p.refresh, narrow1, "")
		if err != nil {
			return err
		}
		return refreshing("", "")(w, next)
	}), refreshing("", ""), "2202", ends},
	{"lose a race to a revocation", racing(revokingRefresh), refreshing("", ""), "2202", ends},
	{"refresh when the grant is gone", after(revokingRefresh), refreshing("", ""), "2202", ends},
	{"refresh when the grant is gone and the token has expired", after(both(revokingRefresh, waits(DefaultRefreshTTL+DefaultGrace/2))), refreshing("", ""), "1001", ends},
	{"replay", after(both(refreshing("", ""), waits(DefaultGrace))), refreshing("", ""), "2202", kills + ends},
	{"replay of a token before a rotation that narrowed", after(both(refreshing(narrow1, ""), waits(DefaultGrace))), refreshing("", ""), "2202", kills + ends},

	// What ends nothing.
	{"refresh", nil, refreshing("", ""), "", 0},
	{"refresh, naming the scope and through_data that it has", after(func(*world, pair) error { return nil }), refreshing("orders.write orders.read", ""), "", 0},
	{"its repeat", after(refreshing("", "")), refreshing("", ""), "", 0},
	{"refresh after a refresh that narrowed", func(w *world) pair { return mustNarrow(w, w.issue(keyA)) }, refreshing("", ""), "", 0},
	{"its repeat", func(w *world) pair {
		p := mustNarrow(w, w.issue(keyA))
		w.mustRefresh(p.refresh)
		return p
	}, refreshing("", ""), "", 0},
	{"refresh after a revocation", after(revokingAccess), refreshing("", ""), "", 0},
	{"lose a race", racing(refreshing("", "")), refreshing("", ""), "", 0},
	{"refresh with a wider scope", nil, refreshing("admin", ""), "2205", 0},
	{"refresh with a token two behind", after(func(w *world, p pair) error { w.mustRefresh(w.mustRefresh(p.refresh).refresh); return nil }), refreshing("", ""), "2202", 0},
	{"refresh with an expired token", after(waits(DefaultRefreshTTL)), refreshing("", ""), "1001", 0},
	{"refresh after a failover", func(w *world) pair {
		p := w.issue(keyA)
		id := w.claims(p.refresh).Grant
		old := w.store.peek(id)
		next := w.mustRefresh(p.refresh)
		w.store.restore(id, old)
		return next
	}, refreshing("", ""), "", 0},
	{"refresh another app's token", nil, func(w *world, p pair) error { _, err := w.refresh(keyB, p.refresh, "", ""); return err }, "1003", 0},
	{"refresh with junk", nil, func(w *world, _ pair) error { _, err := w.refresh(keyA, "rt_junk", "", ""); return err }, "2202", 0},
	{"revoke junk", nil, func(w *world, _ pair) error { return w.revokes("at_junk") }, "", 0},
	{"revoke what a stranger has signed", nil, func(w *world, p pair) error {
		c := w.claims(p.refresh)
		forged, err := mint(&c, fixedKey(1, 0x22, time.Now()).key())
		if err != nil {
			return err
		}
		return w.revokes(forged)
	}, "", 0},
	{"revoke another app's refresh token", nil, func(w *world, p pair) error { _, err := w.m.Revoke(w.t.Context(), w.as(keyB), p.refresh); return err }, "1003", 0},
	{"revoke another app's access token", nil, func(w *world, p pair) error { _, err := w.m.Revoke(w.t.Context(), w.as(keyB), p.access); return err }, "2203", 0},
	{"issue", nil, func(w *world, _ pair) error { w.issue(keyA); return nil }, "", 0},
	{"inspect", nil, func(w *world, p pair) error { w.inspect(p.access); return nil }, "", 0},
	{"inspect what is revoked", after(revokingAccess), func(w *world, p pair) error { w.inspect(p.access); return nil }, "", 0},
	{"inspect what is gone", after(revokingRefresh), func(w *world, p pair) error { w.inspect(p.access); return nil }, "", 0},

	// What may have ended something says so to nobody.
	{"narrow, unavailable", failing("swap", failBefore), refreshing(narrow1, ""), "0613", 0},
	{"narrow, with the reply lost", failing("swap", failAfter), refreshing(narrow1, ""), "0613", 0},
	{"revoke an access token, unavailable", failing("swap", failAfter), revokingAccess, "0613", 0},
	{"revoke a refresh token, unavailable", failing("delete", failAfter), revokingRefresh, "0613", 0},
	{"replay, unavailable", func(w *world) pair {
		p := after(both(refreshing("", ""), waits(DefaultGrace)))(w)
		w.store.fail("delete", failAfter)
		return p
	}, refreshing("", ""), "0613", kills},
}

func mustNarrow(w *world, p pair) pair {
	w.t.Helper()
	next, err := w.refresh(keyA, p.refresh, narrow1, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return next
}

// Whoever ends or narrows something, or finds it done, answers 300 ms after its own call of
// the store that showed it has returned, and whoever does not answers at once: exactly, by
// the clock of a bubble.
func TestWhatHasEndedIsAcknowledgedLate(t *testing.T) {
	for _, a := range acknowledgments {
		t.Run(a.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTimedWorld(t)
				setUp := a.setUp
				if setUp == nil {
					setUp = func(w *world) pair { return w.issue(keyA) }
				}
				p := setUp(w)
				slow := &slowCalls{Store: w.store}
				w.m.cfg.Store = slow
				var raced time.Duration
				if rival := w.store.onSwap; rival != nil {
					w.store.onSwap = func() {
						began := time.Now()
						w.m.cfg.Store = w.store
						rival()
						w.m.cfg.Store = slow
						raced = time.Since(began)
					}
				}
				began := time.Now()
				err := a.call(w, p)
				took := time.Since(began) - raced
				if got := code(err); got != a.code && a.code != "any" {
					t.Errorf("answered %q, want %q (%v)", got, a.code, err)
				}
				if want := time.Duration(slow.calls)*callTakes + a.waits; took != want {
					t.Errorf("took %v, want %v: %d calls of the store and %v", took, want, slow.calls, a.waits)
				}
			})
		})
	}
}

// The wait is counted from when the call returned, and neither a caller who leaves nor a
// process that stops cuts it short.
func TestNothingCutsAnAcknowledgmentShort(t *testing.T) {
	for _, a := range acknowledgments {
		if a.waits != ends || a.setUp != nil {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTimedWorld(t)
				ctx, cancel := context.WithCancel(t.Context())
				draining := make(chan struct{})
				w.m.cfg.Draining = draining
				p := w.issue(keyA)
				began := time.Now()
				time.AfterFunc(time.Millisecond, func() { cancel(); close(draining) })
				var err error
				switch {
				case strings.HasPrefix(a.name, "revoke an access"):
					_, err = w.m.Revoke(ctx, w.as(keyA), p.access)
				case strings.HasPrefix(a.name, "revoke"):
					_, err = w.m.Revoke(ctx, w.as(keyA), p.refresh)
				default:
					_, _, err = w.m.refresh(ctx, w.as(keyA), Request{RefreshToken: p.refresh, Scope: narrow1, Left: ctx.Done()}, false)
				}
				if took := time.Since(began); took != ends || err != nil {
					t.Errorf("took %v, %v; want %v", took, err, ends)
				}
			})
		})
	}
}

// Whatever deletes a grant or raises a lowest serial, in any function of any package, is on
// this list, and acknowledges it, or leaves that to the one named.
func TestWhoEndsTokens(t *testing.T) {
	want := map[string]string{
		"token.refresh": "acknowledge",   // a replay; a rotation that rotated has narrowed
		"token.Revoke":  "acknowledge",   // either kind of token
		"token.rotated": "token.refresh", // pure: refresh swaps it in
		"token.Issue":   "",              // the first serial of a new grant
	}
	got := map[string]string{}
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			filepath.Base(filepath.Dir(path)) == "storetest" || filepath.Base(filepath.Dir(path)) == "telemetry" { // they are stores themselves
			return err
		}
		f, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && endsTokens(fn) {
				name := f.Name.Name + "." + fn.Name.Name
				got[name] = ""
				if calls(fn, "acknowledge") {
					got[name] = "acknowledge"
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, by := range want {
		if strings.Contains(by, ".") {
			want[name] = ""
			if want[by] != "acknowledge" {
				t.Errorf("%s leaves it to %s, which does not acknowledge", name, by)
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("these end tokens, and whether they acknowledge it: %v\nwant %v", got, want)
	}
}

// endsTokens reports whether a function calls Delete of a store, or sets a LowestValid from
// anything but a record.
func endsTokens(fn *ast.FuncDecl) (found bool) {
	if fn.Name.Name == "decodeGrant" {
		return false
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "Delete" {
				return true
			}
			on, ok := s.X.(*ast.SelectorExpr)
			found = found || ok && on.Sel.Name == "Store"
		case *ast.AssignStmt:
			found = found || slices.ContainsFunc(n.Lhs, isLowestValid)
		case *ast.IncDecStmt:
			found = found || isLowestValid(n.X)
		case *ast.KeyValueExpr:
			key, ok := n.Key.(*ast.Ident)
			found = found || ok && key.Name == "LowestValid"
		}
		return true
	})
	return found
}

func isLowestValid(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "LowestValid"
}

func calls(fn *ast.FuncDecl, name string) (found bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		found = found || ok && s.Sel.Name == name
		return true
	})
	return found
}
