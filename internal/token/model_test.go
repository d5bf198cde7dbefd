package token

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"authsvc/internal/app"
	"authsvc/internal/keyring"
)

// This file checks the Manager against a model of what the design promises, in
// random histories of two processes on one store. The model keeps whole
// tokens and states, knows nothing of records, and shares no code with the
// decisions that it judges.

// mState is what the store should hold of a grant.
type mState struct {
	app       string
	gen       uint32
	scope, td string
	issued    int64
	serial    uint32
	from      uint32 // whose successor the current pair is; 0: it is the first
	from1     uint32 // and the one before that
	at, rt    int64  // when the current pair ends
	since     int64  // milliseconds: when the current pair was issued
	before    int64  // when the one of from was
	lowest    uint32
	keep      int64
	without   [2]uint32 // the line goes on without the serials from the first to the second
	access    string    // the current pair, once anybody has got it
	refresh   string
}

type mVersion struct {
	state *mState // nil: the store holds nothing
	held  record
}

type mGrant struct {
	id       GrantID
	now      *mState // nil: gone
	versions []mVersion
	failover bool // the store has lost some of its history
	ended    bool // its owner, or a replay, has ended it, and that was acknowledged
}

// mToken is a token that some app got.
type mToken struct {
	kind       Kind
	text       string
	grant      *mGrant
	app        string
	serial     uint32
	expires    int64
	issued     int64    // milliseconds
	scope, td  string   // what it was given out for
	successors []string // of a refresh token: what it was ever exchanged for
	dead       string   // of an access token: why it must not be active again
}

type mApp struct {
	scopes          []string
	gen             uint32
	frozen, missing bool
	access, refresh int64
}

const (
	mGrace = 60
	mSlack = 600 // how long a store keeps a grant beyond its last token
	mLife  = 30 * 24 * 3600
)

// process is one Manager with a clock, a keyring and a list of apps of its own.
type process struct {
	name     string
	skew     time.Duration
	clock    *Clock
	keys     *keyring.Current
	registry *app.Registry
	m        *Manager
	knows    map[string]mApp // the list of apps that the model expects it to have
	events   []EventKind
}

func (p *process) GoString() string { return p.name } // in rapid's account of a failure

type machine struct {
	t      *rapid.T
	hand   *hand
	store  *fakeStore
	apps   map[string]mApp // the truth
	keys   []signingKey
	ring   *keyring.Keyring // of keys: the newest
	procs  []*process
	grants []*mGrant
	tokens []*mToken
	acts   map[string]int
}

var mKeys = []string{keyA, keyB, keyC}

func newMachine(t *rapid.T) *machine {
	s := &machine{t: t, hand: newHand(), acts: map[string]int{}}
	s.store = newFakeStore(s.hand.Now)
	s.keys = []signingKey{fixedKey(1, 1, epoch.Add(-time.Hour))}
	s.ring = ringOf(s.keys...)
	s.apps = map[string]mApp{
		keyA: {scopes: []string{"read", "write"}, access: 3600, refresh: 7200},
		keyB: {scopes: []string{"read", "write"}, access: 120, refresh: 40}, // a refresh token that expires within the grace
		keyC: {scopes: nil, access: 1, refresh: 72000},
	}
	for _, p := range []*process{{name: "p0"}, {name: "p1", skew: 5 * time.Hour}} {
		p.clock = NewClock(func() time.Time { return s.hand.Now().Add(p.skew) })
		p.clock.SetTimer(s.hand.After)
		p.keys = keyring.NewCurrent(s.ring, func(context.Context) { s.must(p.keys.Replace(s.ring, s.hand.Now())) })
		var err error
		p.registry, err = app.NewRegistry(testPepper, s.appList())
		s.must(err)
		p.registry.OnReload = func(context.Context) { s.must(p.registry.Replace(s.appList())) }
		s.learn(p)
		p.m = NewManager(Config{
			Store: s.store, Clock: p.clock, Keys: p.keys, Apps: p.registry,
			AccessTTL: 3600 * time.Second, RefreshTTL: 7200 * time.Second, Grace: mGrace * time.Second,
			OnEvent: func(_ context.Context, e Event) { p.events = append(p.events, e.Kind) },
		})
		s.must(p.clock.Measure(t.Context(), s.store))
		s.procs = append(s.procs, p)
	}
	return s
}

func (s *machine) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *machine) appList() []app.App {
	var list []app.App
	for _, k := range mKeys {
		if a := s.apps[k]; !a.missing {
			list = append(list, app.App{
				Key: k, Secrets: []app.Secret{{Hash: testPepper.Hash(secretOf(k))}}, Scopes: a.scopes, Frozen: a.frozen, Generation: a.gen,
				AccessTTL: time.Duration(a.access) * time.Second, RefreshTTL: time.Duration(a.refresh) * time.Second,
			})
		}
	}
	return list
}

// learn is the model's side of a process that reads the list of apps.
func (s *machine) learn(p *process) {
	p.knows = map[string]mApp{}
	for k, a := range s.apps {
		p.knows[k] = a
	}
}

func (s *machine) sec() int64   { return s.hand.Now().Unix() }
func (s *machine) milli() int64 { return s.hand.Now().UnixMilli() }

// current is what the store holds of a grant now.
func (s *machine) current(g *mGrant) *mState {
	if g.now != nil && s.sec() >= g.now.keep+mSlack {
		g.now = nil
	}
	return g.now
}

// became notes a state that the store has come to hold.
func (s *machine) became(g *mGrant, n *mState) {
	g.now = n
	held := s.store.peek(g.id)
	if (n == nil) != (held.bytes == nil) {
		s.t.Fatalf("the store holds %d bytes of a grant that is %v", len(held.bytes), n)
	}
	g.versions = append(g.versions, mVersion{n, held})
}

// mScope is what asking for a scope gives, out of what may be had.
func mScope(may []string, asked string) (string, bool) {
	if asked == "" || asked == "default" {
		return strings.Join(may, " "), true
	}
	var got []string
	for _, have := range may {
		if slices.Contains(strings.Fields(asked), have) {
			got = append(got, have)
		}
	}
	for _, want := range strings.Fields(asked) {
		if !slices.Contains(may, want) {
			return "", false
		}
	}
	return strings.Join(got, " "), len(strings.Fields(asked)) > 0
}

// answered takes in a pair that an app got for the current state of a grant.
func (s *machine) answered(g *mGrant, n *mState, access, refresh string) {
	if n.access != "" && access != n.access || n.refresh != "" && refresh != n.refresh {
		s.t.Fatalf("the pair of serial %d was\n%s %s\nand is now\n%s %s", n.serial, n.access, n.refresh, access, refresh)
	}
	n.access, n.refresh = access, refresh
	at := mToken{kind: Access, text: access, grant: g, app: n.app, serial: n.serial, expires: n.at, issued: n.since, scope: n.scope, td: n.td}
	rt := at
	rt.kind, rt.text, rt.expires = Refresh, refresh, n.rt
	s.got(&at)
	s.got(&rt)
}

func (s *machine) got(t *mToken) {
	if !slices.ContainsFunc(s.tokens, func(o *mToken) bool { return o.text == t.text }) {
		s.tokens = append(s.tokens, t)
	}
}

// kill notes that access tokens of a grant must never be active again.
func (s *machine) kill(g *mGrant, upTo uint32, why string) {
	for _, t := range s.tokens {
		if t.grant == g && t.kind == Access && t.serial <= upTo && t.dead == "" {
			t.dead = why
		}
	}
}

// ---- the moves

func (s *machine) issue(p *process, key, scope, td string, f fault) {
	a := p.knows[key]
	if a.missing {
		s.t.Skip("the process knows no such app")
	}
	want, ok := mScope(a.scopes, scope)
	if f == failBefore || f == failAfter {
		s.store.fail("create", f)
	}
	before := len(s.store.calls)
	tok, err := p.m.Issue(s.t.Context(), s.as(p, key), scope, td)
	s.store.heal()
	if !ok {
		s.expect(p, "issue", err, "2205")
		return
	}
	s.expect(p, "issue", err, "", EventIssued) // a fault costs one attempt and no more
	n := &mState{
		app: key, gen: a.gen, scope: want, td: td, issued: s.sec(), serial: 1,
		at: s.sec() + a.access, rt: s.sec() + a.refresh, since: s.milli(), before: s.milli(), lowest: 1,
	}
	n.keep = max(n.at, n.rt)
	g := &mGrant{id: s.store.calls[len(s.store.calls)-1].id, versions: []mVersion{{}}}
	if n := len(s.store.calls) - before; n != 1 && (f == noFault || n != 2) {
		s.t.Fatalf("issuing took %d calls of the store", n)
	}
	s.grants = append(s.grants, g)
	s.became(g, n)
	s.answered(g, n, tok.Access, tok.Refresh)
	if tok.Scope != want || tok.ClientID != key {
		s.t.Fatalf("issued %q to %q, want %q to %q", tok.Scope, tok.ClientID, want, key)
	}
}

func (s *machine) as(p *process, key string) app.Authenticated {
	who, err := p.registry.Authenticate(key, secretOf(key))
	s.must(err)
	return who
}

// expect checks the answer of a move and the events that it led to.
func (s *machine) expect(p *process, move string, err error, want string, events ...EventKind) {
	s.t.Helper()
	s.acts[move+" "+want]++
	if code(err) != want {
		s.t.Fatalf("%s: %s answered %q (%v), want %q", p.name, move, code(err), err, want)
	}
	if !slices.Equal(p.events, events) {
		s.t.Fatalf("%s: %s led to the events %v, want %v", p.name, move, p.events, events)
	}
	for _, e := range events {
		s.acts["event "+string(e)]++
	}
	p.events = nil
	s.sameApps(p)
}

// sameApps checks that a process has read the list of apps when, and only when,
// the model expects it to.
func (s *machine) sameApps(p *process) {
	s.t.Helper()
	for k, a := range p.knows {
		got, ok := p.registry.Lookup(k)
		if ok == a.missing || ok && (got.Generation != a.gen || got.Frozen != a.frozen || !slices.Equal(got.Scopes, a.scopes)) {
			s.t.Fatalf("%s: app %s is %+v, want %+v", p.name, k, got, a)
		}
	}
}

// verdict is what the model expects of one refresh.
type verdict struct {
	code   string
	next   *mState // the store comes to hold this
	gone   bool    // the store comes to hold nothing
	events []EventKind
	reads  bool // whether the store is asked at all
	now    int64
}

// judge says what becomes of a refresh by an app that the process sees as a.
func (s *machine) judge(p *process, key string, a mApp, t *mToken, scope, td string, held bool) (verdict, mApp) {
	v, a := s.rule(p, key, a, t, scope, td, held)
	v.now = s.sec()
	return v, a
}

func (s *machine) rule(p *process, key string, a mApp, t *mToken, scope, td string, held bool) (verdict, mApp) {
	no := func(code string) verdict { return verdict{code: code, reads: true} }
	now, dead := s.sec(), s.sec() >= t.expires
	late := func(code string) verdict { // a token that has expired is just that
		if dead {
			code = "1001"
		}
		return no(code)
	}
	switch {
	case t.kind == Access:
		return verdict{code: "2202"}, a
	case t.app != key && (t.app == keyC || key == keyC): // keyA and keyB have one tag
		return verdict{code: "1003"}, a
	case now-mGrace >= t.expires:
		return verdict{code: "1001"}, a
	}
	n := s.current(t.grant)
	if n == nil {
		return late("2202"), a
	}
	if t.app != key {
		return no("1003"), a
	}
	if n.gen > a.gen {
		s.learn(p)
		if a = s.apps[key]; a.missing {
			return no("2202"), a
		}
	}
	if n.gen < a.gen {
		return late("2202"), a
	}
	recent := func(ms int64) bool { return s.milli() < ms+mGrace*1000 }
	same := t.scope == n.scope && t.td == n.td
	switch {
	case t.serial > n.serial, t.serial == n.serial && !same:
		next, refused := s.goesOn(n, a, t, scope, td)
		switch {
		case dead:
			return no("1001"), a
		case !same && (refused || t.scope != next.scope || t.td != next.td):
			s.acts["a lost change"]++
			return no("2202"), a
		case refused:
			return no("2205"), a
		}
		if t.serial > n.serial {
			next.from1 = n.serial
		}
		next.goesWithout(n.serial, max(t.serial, n.serial+1))
		return verdict{next: &next, reads: true, events: []EventKind{EventGrantHealed, EventRefreshed}}, a
	case t.serial == n.serial && t.issued != n.since,
		t.serial > n.from && t.serial < n.serial,
		t.serial == n.from && t.issued != n.before,
		t.serial > n.from1 && t.serial < n.from,
		t.serial < n.from && n.without[0] <= t.serial && t.serial < n.without[1]:
		s.acts["a lost line"]++
		return late("2202"), a
	case t.serial == n.serial:
		next, refused := s.goesOn(n, a, t, scope, td)
		switch {
		case dead:
			return no("1001"), a
		case refused:
			return no("2205"), a
		}
		return verdict{next: &next, reads: true, events: []EventKind{EventRefreshed}}, a
	case t.serial == n.from && recent(n.since):
		again := verdict{reads: true, events: []EventKind{EventRefreshRepeated}}
		got, ok := mScope(strings.Fields(n.scope), scope)
		switch {
		case now >= n.rt:
			return no("1001"), a
		case n.serial < n.lowest:
			return late("2202"), a
		case !ok || got != n.scope || td != "" && td != n.td:
			return late("2205"), a
		case now >= n.at:
			next := *n
			next.at, next.access = min(now+a.access, n.issued+mLife), ""
			next.keep = max(n.keep, next.at)
			s.acts["a dead pair"]++
			again.next = &next
		}
		return again, a
	case dead:
		return no("1001"), a
	case held, t.serial == n.from1 && recent(n.before):
		return no("2202"), a
	}
	return verdict{code: "2202", gone: true, reads: true, events: []EventKind{EventRefreshReplayed}}, a
}

// goesOn is what a rotation from a token makes of a grant, and whether what it asks for is
// refused.
func (s *machine) goesOn(n *mState, a mApp, t *mToken, scope, td string) (next mState, refused bool) {
	var may []string
	for _, have := range strings.Fields(n.scope) {
		if slices.Contains(a.scopes, have) {
			may = append(may, have)
		}
	}
	got, ok := mScope(may, scope)
	now := s.sec()
	next = *n
	next.serial = max(t.serial+1, n.lowest)
	next.from1, next.from = n.from, t.serial
	next.before, next.since = t.issued, s.milli()
	next.at, next.rt = min(now+a.access, n.issued+mLife), min(now+a.refresh, n.issued+mLife)
	next.keep = max(n.keep, t.expires, next.at, next.rt)
	next.access, next.refresh = "", ""
	if next.serial > t.serial+1 {
		next.goesWithout(t.serial+1, next.serial)
	}
	next.scope = got
	if td != "" {
		next.td = td
	}
	if next.scope != n.scope || next.td != n.td {
		next.lowest = next.serial
	}
	return next, !ok || n.scope != "" && len(may) == 0
}

func (n *mState) goesWithout(low, high uint32) {
	if n.without == [2]uint32{} {
		n.without = [2]uint32{low, high}
	}
	n.without = [2]uint32{min(n.without[0], low), max(n.without[1], high)}
}

// refresh is a refresh of a token by an app. Where a rotation follows, rival
// happens in another process between this one's look at the grant and its swap.
func (s *machine) refresh(p *process, key string, t *mToken, scope, td string, f fault, rival func()) {
	a := p.knows[key]
	if a.missing {
		s.t.Skip("the process knows no such app")
	}
	who := s.as(p, key)
	knew := p.knows
	v, a := s.judge(p, key, a, t, scope, td, false)

	// What goes wrong, and whether it meets this refresh at all.
	code, happens := v.code, true
	write := map[bool]string{true: "delete", false: "swap"}[v.gone]
	writes := v.next != nil || v.gone
	switch {
	case f == failBefore && s.hand.Now().UnixMilli()%2 == 0: // the read
		s.store.fail("get", failBefore)
		if v.reads {
			code, happens, v.events, p.knows = "0613", false, nil, knew
		}
	case f == failBefore, f == failAfter:
		s.store.fail(write, f)
		if writes {
			code, happens, v.events = "0613", f == failAfter, nil
		}
	case f == spuriousClash:
		s.store.fail("swap", f)
	}
	raced := false
	if rival != nil {
		was := t.grant.now
		s.store.onSwap = func() {
			rival()
			if s.current(t.grant) != was { // so the swap is lost, and it looks again
				raced = true
				v, _ = s.judge(p, key, a, t, scope, td, true)
				code = v.code
			}
		}
	}
	tok, _, err := p.m.Refresh(s.t.Context(), who, t.text, scope, td)
	s.store.heal()
	if fired := s.store.onSwap == nil; rival != nil && !fired && v.next != nil {
		s.t.Fatal("the refresh did not swap")
	}
	s.store.onSwap = nil

	if raced && v.next == nil && v.code == "" && slices.Contains(p.events, EventRefreshed) {
		// Both wrote the same bytes in the same millisecond. The store
		// says yes to either; only the event tells them apart.
		v.events = p.events
	}
	s.expect(p, "refresh", err, code, v.events...)
	if happens && v.gone {
		s.became(t.grant, nil)
		if code != "0613" {
			t.grant.ended = true
		}
		s.kill(t.grant, ^uint32(0), "replayed")
	}
	if happens && v.next != nil {
		s.became(t.grant, v.next)
		if v.next.lowest == v.next.serial {
			s.kill(t.grant, v.next.serial-1, "changed")
		}
	}
	if code != "" {
		return
	}
	n := t.grant.now
	if tok.Scope != n.scope || tok.ClientID != n.app || tok.AccessExpiresIn <= 0 || tok.RefreshExpiresIn <= 0 ||
		tok.AccessExpiresIn != time.Duration(n.at-v.now)*time.Second ||
		tok.RefreshExpiresIn != time.Duration(n.rt-v.now)*time.Second {
		s.t.Fatalf("the answer is %+v, want %+v", tok, n)
	}
	s.answered(t.grant, n, tok.Access, tok.Refresh)
	if !slices.Contains(t.successors, tok.Refresh) {
		t.successors = append(t.successors, tok.Refresh)
	}
	if len(t.successors) > 1 && !t.grant.failover {
		s.t.Fatalf("a refresh token has %d successors: %v", len(t.successors), t.successors)
	}
}

func (s *machine) revoke(p *process, key string, t *mToken, f fault) {
	if p.knows[key].missing {
		s.t.Skip("the process knows no such app")
	}
	foreign := map[Kind]string{Access: "2203", Refresh: "1003"}[t.kind]
	n := s.current(t.grant)
	want, writes := "", false
	switch {
	case t.app != key && (t.app == keyC || key == keyC):
		want = foreign
	case t.kind == Access && s.sec() >= t.expires, n == nil:
	case t.app != key:
		want = foreign
	case t.kind == Refresh, t.serial >= n.lowest:
		writes = true
	}
	happens := writes
	if f == failBefore || f == failAfter {
		s.store.fail(map[Kind]string{Access: "swap", Refresh: "delete"}[t.kind], f)
		if writes {
			want, happens = "0613", f == failAfter
		}
	}
	var events []EventKind
	if writes && want == "" {
		events = []EventKind{EventRevoked}
	}
	_, err := p.m.Revoke(s.t.Context(), s.as(p, key), t.text)
	s.store.heal()
	s.expect(p, "revoke", err, want, events...)
	if !happens {
		return
	}
	if t.kind == Refresh {
		s.became(t.grant, nil)
		t.grant.ended = t.grant.ended || want == ""
		s.kill(t.grant, ^uint32(0), "grant revoked")
		return
	}
	next := *n
	next.lowest = t.serial + 1
	s.became(t.grant, &next)
	s.kill(t.grant, t.serial, "revoked")
}

// inspect checks one process's verdict on a token.
func (s *machine) inspect(p *process, t *mToken, f fault) {
	i, want, reads := Inspection{}, "", true
	n := s.current(t.grant)
	if f == failBefore {
		s.store.fail("get", f)
	}
	switch {
	case t.kind == Refresh:
		want, reads = "2203", false
	case s.sec() >= t.expires:
		want, reads = "1002", false
	case f == failBefore:
		want = "0613"
	case n == nil, t.serial < n.lowest, t.scope != n.scope || t.td != n.td:
		want = "2203"
		if n != nil { // the app is looked up before the verdict
			s.see(p, n)
		}
	default:
		switch a := s.see(p, n); {
		case a.missing:
			want = "1004"
		case a.frozen:
			want = "0502"
		case n.gen < a.gen:
			want = "2203"
		}
	}
	before := len(s.store.calls)
	i, err := p.m.Inspect(s.t.Context(), t.text)
	s.store.heal()
	if asked := len(s.store.calls) - before; asked != map[bool]int{true: 1}[reads] {
		s.t.Fatalf("%s: inspecting took %d calls of the store", p.name, asked)
	}
	if err == nil && i.Reason != nil {
		err = i.Reason
	}
	s.expect(p, "inspect", err, want)
	if want != "" {
		return
	}
	if t.dead != "" && !t.grant.failover {
		s.t.Fatalf("an access token is active though it was %s", t.dead)
	}
	if t.grant.ended {
		s.t.Fatal("an access token of a revoked grant is active")
	}
	if i.AppKey != t.app || i.Scope != t.scope || i.ThroughData != t.td || i.ExpiresAt != t.expires {
		s.t.Fatalf("inspection %+v, want %+v", i, n)
	}
}

// see is the app of a grant as a process sees it, after a look at a newer list
// where its own must be old.
func (s *machine) see(p *process, n *mState) mApp {
	if a := p.knows[n.app]; a.missing || a.gen < n.gen {
		s.learn(p)
	}
	return p.knows[n.app]
}

// check inspects every token there is; an acknowledged access token that nothing
// has ended must be active.
func (s *machine) check() {
	for _, t := range s.tokens {
		s.inspect(s.procs[0], t, noFault)
	}
}

func (s *machine) changeApp(key string, change func(*mApp)) {
	a := s.apps[key]
	change(&a)
	s.apps[key] = a
	s.must(s.procs[0].registry.Replace(s.appList())) // p1 hears of it later
	s.learn(s.procs[0])
}

func (s *machine) failOver(g *mGrant, to int) {
	v := g.versions[to]
	s.store.restore(g.id, v.held)
	g.now, g.failover, g.ended = v.state, true, false
	if v.state != nil {
		n := *v.state
		g.now = &n
	}
	g.versions = g.versions[:to+1]
}

// run lets rapid choose the moves.
func (s *machine) run() {
	t := s.t
	proc := rapid.SampledFrom(s.procs)
	key := rapid.SampledFrom(mKeys)
	scope := rapid.SampledFrom([]string{"", "", "", "default", "read", "write", "read write", "write read", "admin", "read admin", " "})
	td := rapid.SampledFrom([]string{"", "", "", "x", "y"})
	faults := rapid.SampledFrom([]fault{failBefore, failAfter, spuriousClash})

	anyToken := func() *mToken {
		if len(s.tokens) == 0 {
			t.Skip("no token yet")
		}
		return s.tokens[rapid.IntRange(0, len(s.tokens)-1).Draw(t, "token")]
	}
	fresh := func() *mToken { // one of the latest refresh tokens, more often than not a good one
		var rs []*mToken
		for _, tok := range s.tokens {
			if tok.kind == Refresh {
				rs = append(rs, tok)
			}
		}
		if len(rs) == 0 {
			t.Skip("no token yet")
		}
		return rs[len(rs)-1-rapid.IntRange(0, min(len(rs)-1, 3)).Draw(t, "back")]
	}
	other := func(p *process) *process { return s.procs[map[string]int{"p0": 1, "p1": 0}[p.name]] }

	refresh := func(f fault, pick func() *mToken) {
		tok := pick()
		s.refresh(proc.Draw(t, "process"), tok.app, tok, scope.Draw(t, "scope"), td.Draw(t, "through_data"), f, nil)
	}
	changes := map[string]func(){
		"rotate the signing key": func() {
			if len(s.keys) == 6 {
				t.Skip("enough keys")
			}
			id := byte(len(s.keys) + 1)
			from := s.hand.Now().Add(rapid.SampledFrom([]time.Duration{0, 5 * time.Minute}).Draw(t, "signs from"))
			s.keys = append(s.keys, fixedKey(id, id, from))
			s.ring = ringOf(s.keys...)
			p := proc.Draw(t, "process") // the other one hears of it later
			s.must(p.keys.Replace(s.ring, s.hand.Now()))
		},
		"freeze or unfreeze": func() {
			s.changeApp(key.Draw(t, "app"), func(a *mApp) { a.frozen = !a.frozen })
		},
		"raise the generation": func() {
			s.changeApp(key.Draw(t, "app"), func(a *mApp) { a.gen++ })
		},
		"change the scopes": func() {
			s.changeApp(key.Draw(t, "app"), func(a *mApp) {
				a.scopes = rapid.SampledFrom([][]string{{"read", "write"}, {"write", "read"}, {"read"}, nil}).Draw(t, "scopes")
			})
		},
		"remove the app or make it again": func() {
			s.changeApp(keyC, func(a *mApp) {
				if a.missing = !a.missing; !a.missing {
					a.gen++ // above every generation the key ever had
				}
			})
		},
		"p1 hears of the apps": func() {
			s.procs[1].registry.Reload(context.Background())
			s.learn(s.procs[1])
		},
		"p1's clock steps": func() {
			s.procs[1].skew = rapid.SampledFrom([]time.Duration{-24 * time.Hour, -time.Minute, 0, 5 * time.Hour}).Draw(t, "to")
			s.must(s.procs[1].clock.Measure(t.Context(), s.store))
		},
	}
	t.Repeat(map[string]func(*rapid.T){
		"": func(*rapid.T) { s.check() },
		"issue": func(*rapid.T) {
			s.issue(proc.Draw(t, "process"), key.Draw(t, "app"), scope.Draw(t, "scope"), td.Draw(t, "through_data"), noFault)
		},
		"issue, store fails": func(*rapid.T) {
			s.issue(proc.Draw(t, "process"), key.Draw(t, "app"), "", "", faults.Draw(t, "fault"))
		},
		"refresh the latest": func(*rapid.T) {
			tok := fresh()
			s.refresh(proc.Draw(t, "process"), tok.app, tok, "", "", noFault, nil)
		},
		"refresh one of the latest": func(*rapid.T) { refresh(noFault, fresh) },
		"refresh any token":         func(*rapid.T) { refresh(noFault, anyToken) },
		"refresh, store fails":      func(*rapid.T) { refresh(faults.Draw(t, "fault"), fresh) },
		"refresh and lose the reply, then retry": func(*rapid.T) {
			tok := fresh()
			s.refresh(s.procs[0], tok.app, tok, "", "", failAfter, nil)
			s.hand.Advance(time.Duration(rapid.IntRange(0, 2).Draw(t, "seconds")) * time.Second)
			s.refresh(s.procs[1], tok.app, tok, "", "", noFault, nil)
		},
		"failover, and the latest goes on": func(*rapid.T) {
			tok := fresh()
			s.failOver(tok.grant, max(0, len(tok.grant.versions)-1-rapid.IntRange(1, 2).Draw(t, "lost")))
			s.refresh(proc.Draw(t, "process"), tok.app, tok, "", "", noFault, nil)
		},
		"refresh by any app": func(*rapid.T) {
			s.refresh(proc.Draw(t, "process"), key.Draw(t, "app"), anyToken(), "", "", noFault, nil)
		},
		"two refreshes race": func(*rapid.T) {
			tok, p := fresh(), proc.Draw(t, "process")
			later := rapid.Bool().Draw(t, "a millisecond later")
			s1, td1, s2, td2 := scope.Draw(t, "scope"), td.Draw(t, "td"), scope.Draw(t, "scope"), td.Draw(t, "td")
			if other(p).knows[tok.app].missing {
				t.Skip("the process knows no such app")
			}
			s.refresh(p, tok.app, tok, s1, td1, noFault, func() {
				if later {
					s.hand.Advance(time.Millisecond)
				}
				s.refresh(other(p), tok.app, tok, s2, td2, noFault, nil)
			})
		},
		"a refresh and a revocation race": func(*rapid.T) {
			tok, p := fresh(), proc.Draw(t, "process")
			victim := tok
			if rapid.Bool().Draw(t, "the access token") {
				victim = s.tokens[slices.Index(s.tokens, tok)-1]
			}
			if other(p).knows[tok.app].missing {
				t.Skip("the process knows no such app")
			}
			s.refresh(p, tok.app, tok, "", "", noFault, func() { s.revoke(other(p), tok.app, victim, noFault) })
		},
		"inspect": func(*rapid.T) {
			s.inspect(proc.Draw(t, "process"), anyToken(), rapid.SampledFrom([]fault{noFault, failBefore}).Draw(t, "fault"))
		},
		"both agree": func(*rapid.T) {
			for _, tok := range s.tokens {
				s.inspect(s.procs[1], tok, noFault)
			}
		},
		"revoke": func(*rapid.T) {
			tok := anyToken()
			s.revoke(proc.Draw(t, "process"), tok.app, tok, noFault)
		},
		"revoke, by any app, store fails": func(*rapid.T) {
			tok := anyToken()
			who := rapid.SampledFrom([]string{tok.app, tok.app, keyA, keyB, keyC}).Draw(t, "app")
			s.revoke(proc.Draw(t, "process"), who, tok, faults.Draw(t, "fault"))
		},
		"time passes": func(*rapid.T) {
			s.hand.Advance(rapid.SampledFrom([]time.Duration{
				time.Millisecond, 999 * time.Millisecond, time.Second, 2 * time.Second, 20 * time.Second, 59*time.Second + 999*time.Millisecond,
				60 * time.Second, 61 * time.Second, time.Hour,
			}).Draw(t, "by"))
		},
		"time passes to a boundary": func(*rapid.T) {
			tok := anyToken()
			at := time.Unix(tok.expires, 0)
			if n := tok.grant.now; n != nil && n.since != 0 && rapid.Bool().Draw(t, "the end of the grace") {
				at = time.UnixMilli(n.since).Add(mGrace * time.Second)
			} else if rapid.Bool().Draw(t, "a grace after its expiry") {
				at = at.Add(mGrace * time.Second)
			}
			at = at.Add(rapid.SampledFrom([]time.Duration{-time.Millisecond, 0, time.Millisecond}).Draw(t, "off by"))
			if d := at.Sub(s.hand.Now()); d > 0 {
				s.hand.Advance(d)
			}
		},
		"something changes": func(*rapid.T) {
			names := slices.Sorted(maps.Keys(changes))
			changes[rapid.SampledFrom(names).Draw(t, "what")]()
		},
		"failover": func(*rapid.T) {
			if len(s.grants) == 0 {
				t.Skip("no grant yet")
			}
			g := s.grants[rapid.IntRange(0, len(s.grants)-1).Draw(t, "grant")]
			s.failOver(g, rapid.IntRange(max(0, len(g.versions)-3), len(g.versions)-1).Draw(t, "to"))
		},
	})
}

func TestManagerAgreesWithItsModel(t *testing.T) {
	const checks = "400"
	setFlags(t, map[string]string{"rapid.checks": checks})
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := newMachine(t)
		s.run()
		for k, n := range s.acts {
			seen[k] += n
		}
	})
	// A model that never gets anywhere agrees with everything.
	for _, k := range []string{
		"issue ", "issue 2205", "refresh ", "refresh 0613", "refresh 1001", "refresh 1003", "refresh 2202", "refresh 2205",
		"revoke ", "revoke 0613", "revoke 1003", "revoke 2203",
		"inspect ", "inspect 0502", "inspect 0613", "inspect 1002", "inspect 2203",
		"event issued", "event refreshed", "event refresh_repeated", "event revoked", "event refresh_replayed", "event grant_healed",
		"a dead pair", "a lost line", "a lost change",
	} {
		if seen[k] == 0 && !testing.Short() && flag.Lookup("rapid.checks").Value.String() == checks {
			t.Errorf("%q was never seen; the moves no longer reach it", k)
		}
	}
	t.Log(seen)
}

// setFlags sets flags of rapid for one test, where the command line has not.
func setFlags(t *testing.T, values map[string]string) {
	t.Helper()
	for name, value := range values {
		f := flag.Lookup(name)
		old := f.Value.String()
		if old != f.DefValue {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Value.Set(old) })
	}
}

// probe is a test that may fail without failing the test that runs it.
type probe struct {
	rapid.TB
	failed bool
	log    []string
}

func (p *probe) Helper()                   {}
func (p *probe) Logf(f string, a ...any)   { p.log = append(p.log, fmt.Sprintf(f, a...)) }
func (p *probe) Log(a ...any)              { p.log = append(p.log, fmt.Sprint(a...)) }
func (p *probe) Errorf(f string, a ...any) { p.Logf(f, a...); p.failed = true }
func (p *probe) Error(a ...any)            { p.Log(a...); p.failed = true }
func (p *probe) Fatalf(f string, a ...any) { p.Logf(f, a...); p.FailNow() }
func (p *probe) Fatal(a ...any)            { p.Log(a...); p.FailNow() }
func (p *probe) Fail()                     { p.failed = true }
func (p *probe) Failed() bool              { return p.failed }
func (p *probe) FailNow()                  { p.failed = true; runtime.Goexit() }

// The negative control: on a store that breaks its contract the model must
// notice, or its silence says nothing about the Manager.
func TestTheModelNoticesABrokenStore(t *testing.T) {
	setFlags(t, map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "0s"})
	for name, breakIt := range map[string]func(*fakeStore){
		"a swap that ignores what was there":     func(s *fakeStore) { s.blindSwap = true },
		"a swap that is acknowledged and lost":   func(s *fakeStore) { s.lazySwap = true },
		"a delete that is acknowledged and lost": func(s *fakeStore) { s.lazyDelete = true },
		"a get that is served from an old copy":  func(s *fakeStore) { s.staleGet = true },
	} {
		t.Run(name, func(t *testing.T) {
			p := &probe{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				rapid.Check(p, func(t *rapid.T) {
					s := newMachine(t)
					breakIt(s.store)
					s.run()
				})
			}()
			<-done
			if !p.failed {
				t.Error("the model did not notice")
			}
		})
	}
}

// The same control by hand: with a swap that ignores what was there, two callers
// who race get two successors, and both live.
func TestABlindSwapMakesTwoSuccessors(t *testing.T) {
	for _, blind := range []bool{false, true} {
		w := newWorld(t)
		w.store.blindSwap = blind
		first := w.issue(keyA)
		var rival pair
		w.store.onSwap = func() {
			w.clock.Advance(time.Second)
			rival = w.mustRefresh(first.refresh)
		}
		w.clock.Advance(time.Second)
		mine := w.mustRefresh(first.refresh)
		if two := mine != rival; two != blind {
			t.Errorf("blind %v: two successors is %v", blind, two)
		}
	}
}
