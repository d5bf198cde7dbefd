package token

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/keyring"
)

// ---- time

// epoch is when the tests begin. It is not a whole second on purpose: issued-at
// and expiries are cut to seconds, rotations to milliseconds.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)

// hand is a clock that moves only when it is told to.
type hand struct {
	ns   atomic.Int64
	tick time.Duration // how far every look at the clock moves it

	mu    sync.Mutex
	waits []time.Duration // what was waited for; it took no time
}

func newHand() *hand {
	h := &hand{}
	h.ns.Store(epoch.UnixNano())
	return h
}

func (h *hand) Now() time.Time { return time.Unix(0, h.ns.Add(int64(h.tick))).UTC() }

func (h *hand) Advance(d time.Duration) { h.ns.Add(int64(d)) }

// After implements the timer of a Clock: it notes the wait, which takes no time.
func (h *hand) After(d time.Duration) <-chan time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = append(h.waits, d)
	over := make(chan time.Time, 1)
	over <- h.Now()
	return over
}

// ---- keys

// signingKey is a key as the file of a keyring has it.
type signingKey struct {
	ID        int       `json:"id"`
	Secret    []byte    `json:"secret"`
	Created   time.Time `json:"created"`
	SignsFrom time.Time `json:"signs_from"`
}

// fixedKey returns a signing key whose secret is known: 32 bytes of fill.
func fixedKey(id, fill byte, signsFrom time.Time) signingKey {
	return signingKey{int(id), bytes.Repeat([]byte{fill}, 32), signsFrom, signsFrom}
}

// key returns the key as a keyring holds it.
func (k signingKey) key() *keyring.Key { return ringOf(k).Key(byte(k.ID)) }

// ringOf returns a keyring with a fixed pepper and the given keys.
func ringOf(keys ...signingKey) *keyring.Keyring {
	file, err := json.Marshal(map[string]any{"version": 1, "pepper": bytes.Repeat([]byte{0xee}, 32), "keys": keys})
	if err != nil {
		panic(err)
	}
	r, err := keyring.Parse(file)
	if err != nil {
		panic(err)
	}
	return r
}

// ---- the store

type call1 struct {
	op  string
	id  GrantID
	err error
}

type record struct {
	bytes    []byte
	expireAt time.Time
}

// fault is what goes wrong with one call of the store.
type fault int

const (
	noFault       fault = iota
	failBefore          // nothing is done, the caller learns nothing
	failAfter           // it is done, but the reply is lost
	spuriousClash       // a swap that meets a change which is taken back at once
)

// fakeStore is a Store in memory: one mutex, an honest compare-and-swap, and a
// list of what is to go wrong.
type fakeStore struct {
	now func() time.Time

	mu      sync.Mutex
	records map[GrantID]record
	changes int // how often a record came, changed or went
	calls   []call1
	faults  map[string][]fault // by operation, one for each next call

	lastNotAfter time.Time

	// onSwap and onDelete run before the next swap or delete looks at anything: another
	// process is faster.
	onSwap, onDelete func()

	// Breakages, for the negative controls.
	blindSwap   bool // Swap ignores was
	blindDelete bool // Delete ignores was
	lazyDelete  bool // Delete acknowledges and does nothing
	lazySwap    bool // Swap acknowledges and does nothing
	staleGet    bool // every other Get returns the first record that an id ever had
	gets        int
	first       map[GrantID][]byte
}

var _ Store = (*fakeStore)(nil)

func newFakeStore(now func() time.Time) *fakeStore {
	return &fakeStore{
		now: now, records: map[GrantID]record{}, faults: map[string][]fault{}, first: map[GrantID][]byte{},
	}
}

// fail makes the next calls of an operation go wrong, one fault each.
func (s *fakeStore) fail(op string, fs ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = append(s.faults[op], fs...)
}

// heal takes back the faults that nothing has met, and tells how many those were.
func (s *fakeStore) heal() (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for op, fs := range s.faults {
		left += len(fs)
		delete(s.faults, op)
	}
	return left
}

func (s *fakeStore) take(ctx context.Context, op string) fault {
	if ctx.Err() != nil {
		return failBefore
	}
	fs := s.faults[op]
	if len(fs) == 0 {
		return noFault
	}
	s.faults[op] = fs[1:]
	return fs[0]
}

func lost(op string) error { return fmt.Errorf("%s: connection reset: %w", op, ErrUnavailable) }

// done notes a call; it is the last thing a call does, under the mutex.
func (s *fakeStore) done(op string, id GrantID, f fault, err error) error {
	if f == failAfter || f == failBefore {
		err = lost(op)
	}
	s.calls = append(s.calls, call1{op, id, err})
	return err
}

func (s *fakeStore) lookup(id GrantID) (record, bool) {
	r, ok := s.records[id]
	if ok && !s.now().Before(r.expireAt) {
		delete(s.records, id)
		return record{}, false
	}
	return r, ok
}

func (s *fakeStore) Create(ctx context.Context, id GrantID, b []byte, expireAt time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.take(ctx, "create")
	if f == failBefore {
		return s.done("create", id, f, nil)
	}
	if _, ok := s.lookup(id); ok {
		return s.done("create", id, f, ErrExists)
	}
	s.put(id, b, expireAt)
	return s.done("create", id, f, nil)
}

func (s *fakeStore) put(id GrantID, b []byte, expireAt time.Time) {
	s.records[id] = record{append([]byte(nil), b...), expireAt}
	s.changes++
	if s.first[id] == nil {
		s.first[id] = s.records[id].bytes
	}
}

func (s *fakeStore) Get(ctx context.Context, id GrantID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.take(ctx, "get")
	r, ok := s.lookup(id)
	var err error
	if !ok {
		err = ErrNotFound
	}
	if err := s.done("get", id, f, err); err != nil {
		return nil, err
	}
	if s.gets++; s.staleGet && s.gets%2 == 0 {
		return append([]byte(nil), s.first[id]...), nil
	}
	return append([]byte(nil), r.bytes...), nil
}

func (s *fakeStore) Swap(ctx context.Context, id GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	s.mu.Lock()
	hook := s.onSwap
	s.onSwap = nil
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastNotAfter = notAfter
	f := s.take(ctx, "swap")
	switch r, ok := s.lookup(id); {
	case f == failBefore, s.now().After(notAfter):
		return s.done("swap", id, failBefore, nil)
	case f == spuriousClash:
		return s.done("swap", id, noFault, ErrConflict)
	case ok && string(r.bytes) == string(next):
		return s.done("swap", id, f, nil)
	case !ok && !s.blindSwap, string(r.bytes) != string(was) && !s.blindSwap:
		return s.done("swap", id, f, ErrConflict)
	}
	if !s.lazySwap {
		s.put(id, next, expireAt)
	}
	return s.done("swap", id, f, nil)
}

func (s *fakeStore) Delete(ctx context.Context, id GrantID, was []byte) error {
	s.mu.Lock()
	hook := s.onDelete
	s.onDelete = nil
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.take(ctx, "delete")
	if f == failBefore {
		return s.done("delete", id, f, nil)
	}
	r, ok := s.lookup(id)
	if f == spuriousClash || ok && string(r.bytes) != string(was) && !s.blindDelete {
		return s.done("delete", id, f, ErrConflict)
	}
	if ok && !s.lazyDelete {
		delete(s.records, id)
		s.changes++
	}
	return s.done("delete", id, f, nil)
}

func (s *fakeStore) Now(ctx context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.take(ctx, "now")
	if err := s.done("now", GrantID{}, f, nil); err != nil {
		return time.Time{}, err
	}
	return s.now(), nil
}

// peek is what the store holds, without a call being noted.
func (s *fakeStore) peek(id GrantID) record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[id]
}

// restore is a failover to a replica that lags behind: the store holds an older
// record again, or none where there was none yet.
func (s *fakeStore) restore(id GrantID, r record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.bytes == nil {
		delete(s.records, id)
		return
	}
	s.records[id] = r
}

// ops are the names of the calls since the last look, in order.
func (s *fakeStore) ops() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, c := range s.calls {
		names = append(names, c.op)
	}
	s.calls = nil
	return names
}

// ---- the world: one process

const (
	keyA = "tenant-app-072704" // keyA and keyB have the same tag
	keyB = "tenant-app-145649"
	keyC = "orders-web-001"
)

// secretOf is the secret of every app in the tests.
func secretOf(key string) string { return "secret-of-" + key }

var testPepper = app.Pepper{1, 2, 3}

// anApp is an app as the tests have it, with two scopes.
func anApp(key string) app.App {
	return app.App{
		Key: key, Secrets: []app.Secret{{Hash: testPepper.Hash(secretOf(key))}}, Scopes: []string{"orders.read", "orders.write"},
	}
}

type world struct {
	t        testing.TB
	clock    *hand
	store    *fakeStore
	keys     *keyring.Current
	registry *app.Registry
	reloads  int // of the apps
	m        *Manager

	mu     sync.Mutex
	events []Event
}

// firstKey is the only key of a process that is not told otherwise.
var firstKey = fixedKey(1, 0x11, epoch.Add(-time.Hour))

// newWorld returns one process with the three apps, these keys (firstKey where there
// is none) and a store that works.
func newWorld(t testing.TB, keys ...signingKey) *world {
	t.Helper()
	w := &world{t: t, clock: newHand()}
	if len(keys) == 0 {
		keys = []signingKey{firstKey}
	}
	w.store = newFakeStore(w.clock.Now)
	w.keys = keyring.NewCurrent(ringOf(keys...), nil)
	var err error
	w.registry, err = app.NewRegistry(testPepper, []app.App{anApp(keyA), anApp(keyB), anApp(keyC)})
	if err != nil {
		t.Fatal(err)
	}
	w.registry.OnReload = func(context.Context) { w.reloads++ }
	c := NewClock(w.clock.Now)
	c.SetTimer(w.clock.After)
	if err := c.Measure(t.Context(), w.store); err != nil {
		t.Fatal(err)
	}
	w.store.ops()
	w.m = w.manager(c)
	return w
}

func (w *world) manager(c *Clock) *Manager {
	return NewManager(Config{
		Store: w.store, Clock: c, Keys: w.keys, Apps: w.registry,
		AccessTTL: DefaultAccessTTL, RefreshTTL: DefaultRefreshTTL, Grace: DefaultGrace,
		OnEvent: func(_ context.Context, e Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	})
}

// kinds are the events since the last look, in order.
func (w *world) kinds() []EventKind {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ks []EventKind
	for _, e := range w.events {
		ks = append(ks, e.Kind)
	}
	w.events = nil
	return ks
}

// as is an app that has proved itself.
func (w *world) as(key string) app.Authenticated {
	w.t.Helper()
	who, err := w.registry.Authenticate(key, secretOf(key))
	if err != nil {
		w.t.Fatal(err)
	}
	return who
}

// change replaces one app by a changed copy.
func (w *world) change(key string, change func(*app.App)) {
	w.t.Helper()
	if err := w.registry.Replace(w.changed(key, change)); err != nil {
		w.t.Fatal(err)
	}
}

// restart makes a list the apps of the process, even an older one: it knows of no
// other.
func (w *world) restart(list []app.App) {
	w.t.Helper()
	r, err := app.NewRegistry(testPepper, list)
	if err != nil {
		w.t.Fatal(err)
	}
	r.OnReload = w.registry.OnReload
	w.registry, w.m.cfg.Apps = r, r
}

// changed is the list of apps with one of them changed.
func (w *world) changed(key string, change func(*app.App)) []app.App {
	var list []app.App
	for _, k := range []string{keyA, keyB, keyC} {
		if a, ok := w.registry.Lookup(k); ok {
			c := *a
			if k == key {
				change(&c)
			}
			list = append(list, c)
		}
	}
	return list
}

// pair is two tokens as an app gets them.
type pair struct{ access, refresh string }

func (w *world) issue(key string) pair {
	w.t.Helper()
	tok, err := w.m.Issue(w.t.Context(), w.as(key), "", "")
	if err != nil {
		w.t.Fatal(err)
	}
	return pair{tok.Access, tok.Refresh}
}

func (w *world) refresh(key, rt, scope, throughData string) (pair, error) {
	tok, _, err := w.m.Refresh(w.t.Context(), w.as(key), rt, scope, throughData)
	if err != nil {
		return pair{}, err
	}
	return pair{tok.Access, tok.Refresh}, nil
}

// mustRefresh is a refresh by keyA that succeeds.
func (w *world) mustRefresh(rt string) pair {
	w.t.Helper()
	p, err := w.refresh(keyA, rt, "", "")
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// inspect is the verdict on an access token: "" for active, else the code.
func (w *world) inspect(at string) string {
	w.t.Helper()
	i, err := w.m.Inspect(w.t.Context(), at)
	if err != nil {
		return code(err)
	}
	if i.Reason != nil {
		return code(i.Reason)
	}
	return ""
}

func (w *world) claims(s string) Claims {
	w.t.Helper()
	c, err := parse(context.Background(), s, Kind(s[0]), only{w.keys.Ring()})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// grant is what the store holds for a token.
func (w *world) grant(tok string) *Grant {
	w.t.Helper()
	r := w.store.peek(w.claims(tok).Grant)
	if r.bytes == nil {
		return nil
	}
	g, err := decodeGrant(w.claims(tok).Grant, r.bytes)
	if err != nil {
		w.t.Fatal(err)
	}
	return &g
}

// code is the four digits of a failure's row: "" for none, the text of an error
// that is none of ours.
func code(err error) string {
	var e *apierr.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Row.Code()[len("APIG."):]
	}
	return "unforeseen: " + err.Error()
}

// hint is what a failure tells its caller.
func hint(err error) string {
	var e *apierr.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// minted is a token of claims that can be encoded.
func minted(c *Claims, key *keyring.Key) string {
	s, err := mint(c, key)
	if err != nil {
		panic(err)
	}
	return s
}

// recordOf is the record of a grant that can be encoded.
func recordOf(g *Grant, id GrantID) []byte {
	b, err := g.encode(id)
	if err != nil {
		panic(err)
	}
	return b
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
