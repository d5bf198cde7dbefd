package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"authsvc/internal/redisconn"
	"authsvc/internal/token"
)

// fakeRedis is the lists of a Redis whose shards can be made to fail. Its clock moves only
// when it is told to, and is an hour ahead of the processes'.
type fakeRedis struct {
	token.Store // only Now is called
	mu          sync.Mutex
	now         time.Time // of the processes
	shards      []redisconn.Shard
	noLayout    bool
	lists       map[string]string
	down        map[int]time.Duration // by the first slot: how long a read takes until it fails
	refuses     error                 // of writes
	behind      time.Duration         // how far its clock has stepped back
	writes      int
}

const ahead = time.Hour

var errDown = &redisconn.Error{Err: errors.New("LOADING Redis is loading the dataset in memory")}

func newFakeRedis(shards ...redisconn.Shard) *fakeRedis {
	return &fakeRedis{
		now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), shards: shards,
		lists: map[string]string{}, down: map[int]time.Duration{},
	}
}

func (f *fakeRedis) process() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeRedis) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// unix is the store's time.
func (f *fakeRedis) unix() int64 { return f.process().Add(ahead).UnixMilli() }

// Now implements token.Store.
func (f *fakeRedis) Now(context.Context) (time.Time, error) {
	return f.process().Add(ahead - f.behind), nil
}

// Shards implements conn.
func (f *fakeRedis) Shards(context.Context) ([]redisconn.Shard, error) {
	if f.noLayout {
		return nil, errDown
	}
	return slices.Clone(f.shards), nil
}

// Do implements conn.
func (f *fakeRedis) Do(_ context.Context, key string, _ redisconn.Cmd) (any, error) {
	slot := redisconn.Slot(key)
	for first, takes := range f.down {
		if i := slices.IndexFunc(f.shards, func(s redisconn.Shard) bool { return s.First <= slot && slot <= s.Last }); i >= 0 && f.shards[i].First == first {
			f.advance(takes)
			return nil, errDown
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if list, ok := f.lists[key]; ok {
		return list, nil
	}
	return nil, redisconn.ErrNil
}

// Run implements conn.
func (f *fakeRedis) Run(_ context.Context, _ *redisconn.Script, key string, args ...any) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses != nil {
		return nil, f.refuses
	}
	f.writes++
	if f.lists[key] == args[0] {
		f.lists[key] = args[1].(string)
	}
	return "done", nil
}

// aProcess is one process with its monitor.
type aProcess struct {
	*monitor
	*fakeRedis
	cut     bool          // it can't reach Redis
	hiccups int           // how many of its next reads fail
	stands  time.Duration // for how long it stands still in the next that fails
	store   *Store
	outages []string // as told to OnOutage
	shared  []error  // as told to OnShared
}

func start(t *testing.T, f *fakeRedis) *aProcess {
	t.Helper()
	p := &aProcess{store: &Store{}, fakeRedis: f}
	clock := token.NewClock(f.process)
	if err := clock.Measure(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	p.monitor = p.unmeasured(clock)
	return p
}

func (p *aProcess) unmeasured(clock *token.Clock) *monitor {
	return &monitor{
		Options: Options{
			Timeout:  300 * time.Millisecond,
			OnOutage: func(shard string, took time.Duration) { p.outages = append(p.outages, fmt.Sprint(shard, " ", took)) },
			OnShared: func(err error) { p.shared = append(p.shared, err) },
		},
		clock: clock, conn: p, prefix: "p:", began: clock.Process(), known: &p.store.known,
	}
}

// Do implements conn.
func (p *aProcess) Do(ctx context.Context, key string, cmd redisconn.Cmd) (any, error) {
	if p.cut {
		return nil, errDown
	}
	if p.hiccups > 0 {
		p.hiccups--
		p.advance(p.stands)
		p.stands = 0
		return nil, errDown
	}
	return p.fakeRedis.Do(ctx, key, cmd)
}

// rounds has every process ask once a second, for n seconds.
func rounds(t *testing.T, n int, all ...*aProcess) {
	t.Helper()
	for range n {
		for _, p := range all {
			p.round(t.Context())
		}
		all[0].advance(time.Second)
	}
}

// of is what a process knows of a slot.
func (p *aProcess) of(slot int) token.Outages {
	k := p.store.known.Load()
	return k.outages[slices.IndexFunc(k.last, func(last int) bool { return slot <= last })]
}

func wantAway(t *testing.T, what string, o token.Outages, want ...token.Away) {
	t.Helper()
	if diff := cmp.Diff(want, o.Away, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (want -, got +):\n%s", what, diff)
	}
}

func TestMonitorSeesAnOutage(t *testing.T) {
	f := newFakeRedis(redisconn.Everything)
	p := start(t, f)
	began := f.unix()
	rounds(t, 3, p)
	wantAway(t, "before", p.of(7))
	f.down[0] = 0
	last := f.unix() - 1000 // when the last read was sent that was answered
	rounds(t, 90, p)
	wantAway(t, "during it", p.of(7), token.Away{From: last, To: math.MaxInt64})
	if o := p.of(7); o.Since != began || o.Until != 0 {
		t.Errorf("during it: %+v, asking since %d", o, began)
	}
	delete(f.down, 0)
	end := f.unix()
	rounds(t, 1, p)
	wantAway(t, "after it", p.of(7), token.Away{From: last, To: end})
	if o := p.of(7); o.Until != end {
		t.Errorf("after it: %+v, asked at %d", o, end)
	}
	if away := p.store.Away()["all"]; away != 91*time.Second || !slices.Equal(p.outages, []string{"all 1m31s"}) {
		t.Errorf("away for %v; told %q", away, p.outages)
	}
	rounds(t, 3599, p)
	wantAway(t, "for an hour after it", p.of(7), token.Away{From: last, To: end})
	rounds(t, 2, p)
	wantAway(t, "after that", p.of(7))
	if f.writes != 1 {
		t.Errorf("%d writes, want 1", f.writes)
	}
}

// One process sees an outage, and others learn of it: one that runs, and one that starts
// after it. What is lost in a failover, whoever knows it writes again.
func TestMonitorsShare(t *testing.T) {
	f := newFakeRedis(redisconn.Everything)
	a, b := start(t, f), start(t, f)
	rounds(t, 3, a, b)
	a.cut = true
	last := f.unix() - 1000
	rounds(t, 70, a, b)
	a.cut = false
	seen := token.Away{From: last, To: f.unix()}
	rounds(t, 1, a, b)
	wantAway(t, "a process that saw nothing", b.of(7), seen)
	c := start(t, f)
	rounds(t, 1, c, a, b)
	wantAway(t, "a process that starts", c.of(7), seen)
	if len(c.outages) > 0 || c.store.Away()["all"] != 0 {
		t.Errorf("it saw %q itself", c.outages)
	}

	clear(f.lists)
	rounds(t, 1, c, a, b)
	d := start(t, f)
	rounds(t, 1, d, a, b, c)
	wantAway(t, "after the list was lost", d.of(7), seen)

	// Both see the next one, each for a different time: it is the union.
	rounds(t, 100, a, b, c, d)
	last = f.unix() - 1000
	a.cut = true
	rounds(t, 5, a, b, c, d)
	b.cut = true
	rounds(t, 5, a, b, c, d)
	a.cut = false
	rounds(t, 5, a, b, c, d)
	b.cut = false
	end := f.unix()
	rounds(t, 3, a, b, c, d)
	for _, p := range []*aProcess{a, b, c, d} {
		wantAway(t, "after another", p.of(7), seen, token.Away{From: last, To: end})
	}
	writes := f.writes
	rounds(t, 100, a, b, c, d)
	if f.writes != writes {
		t.Errorf("%d writes with nothing new", f.writes-writes)
	}
	for key, list := range f.lists {
		if !strings.HasPrefix(key, "p:{") || redisconn.Slot(key) != 0 {
			t.Errorf("the list %q is %q", key, list)
		}
	}
}

// What fails a single read is no outage.
func TestMonitorAsksAgain(t *testing.T) {
	f := newFakeRedis(redisconn.Everything)
	p := start(t, f)
	rounds(t, 3, p)
	for range 5 {
		p.hiccups = 1
		rounds(t, 1, p)
	}
	wantAway(t, "after hiccups", p.of(7))
	p.hiccups = 2
	rounds(t, 2, p)
	if len(p.of(7).Away) != 1 {
		t.Errorf("after two in a row: %v", p.of(7).Away)
	}
}

// A process that stands still is not an outage of the store: for its own callers it is
// one, and nobody else hears of it.
func TestMonitorStandsStill(t *testing.T) {
	f := newFakeRedis(redisconn.Everything)
	p := start(t, f)
	rounds(t, 3, p)
	f.advance(2 * time.Second) // 3 s after the last read
	rounds(t, 2, p)
	wantAway(t, "for 3 s", p.of(7))
	last := f.unix() - 1000
	f.advance(100 * time.Second)
	now := f.unix()
	rounds(t, 2, p)
	still := token.Away{From: last, To: now}
	wantAway(t, "for longer", p.of(7), still)

	f.down[0] = 200 * time.Second // it stands still while it waits for an answer
	last = f.unix() - 1000
	p.round(t.Context())
	delete(f.down, 0)
	now = f.unix()
	rounds(t, 2, p)
	wantAway(t, "while it waits", p.of(7), still, token.Away{From: last, To: now})

	p.hiccups, p.stands = 2, 200*time.Second // the second attempt comes after it, and too late
	last = f.unix() - 1000
	p.round(t.Context())
	now = f.unix()
	rounds(t, 2, p)
	if away := p.of(7).Away; away[len(away)-1] != (token.Away{From: last, To: now}) {
		t.Errorf("in the first of two attempts: %v", away)
	}
	if f.writes > 0 || len(p.outages) > 0 || p.store.Away()["all"] != 0 {
		t.Errorf("%d writes, told %q", f.writes, p.outages)
	}
}

// Of what a process finds away after it has stood still, only the time since then is an
// outage that others hear of.
func TestMonitorStandsStillBeforeAnOutage(t *testing.T) {
	f := newFakeRedis(redisconn.Everything)
	p := start(t, f)
	rounds(t, 3, p)
	last := f.unix() - 1000
	f.advance(100 * time.Second)
	wakes := f.unix()
	p.hiccups = 6
	rounds(t, 5, p)
	seen := token.Away{From: wakes, To: wakes + 3000}
	wantAway(t, "for its own callers", p.of(7), token.Away{From: last, To: seen.To})
	if len(f.lists) != 1 || !slices.Equal(p.outages, []string{"all 3s"}) {
		t.Errorf("lists %v, told %q", f.lists, p.outages)
	}
	for _, list := range f.lists {
		if list != listText([]token.Away{seen}) {
			t.Errorf("others hear of %q", list)
		}
	}
}

// After a failover to a server whose clock is behind, an outage seems to end in the future.
// It still counts.
func TestMonitorOfAClockThatStepsBack(t *testing.T) {
	f := newFakeRedis(redisconn.Everything)
	p := start(t, f)
	rounds(t, 3, p)
	f.down[0] = 0
	from := f.unix() - 1000
	rounds(t, 70, p)
	delete(f.down, 0)
	seen := token.Away{From: from, To: f.unix()}
	rounds(t, 1, p)
	f.behind = 10 * time.Second
	if err := p.clock.Measure(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	q := start(t, f)
	for range 15 {
		rounds(t, 1, p, q)
		wantAway(t, "who saw it", p.of(7), seen)
		wantAway(t, "who starts then", q.of(7), seen)
	}
}

var three = []redisconn.Shard{{First: 0, Last: 5460}, {First: 5461, Last: 10921}, {First: 10922, Last: 16383}}

// One shard of a Cluster is away: the others are not. A change of primary changes nothing,
// and a resharding gives each new shard what the old ones had that it has slots of.
func TestMonitorByShard(t *testing.T) {
	f := newFakeRedis(three...)
	p := start(t, f)
	rounds(t, 3, p)
	f.down[5461] = 0
	from := f.unix() - 1000
	rounds(t, 70, p)
	delete(f.down, 5461)
	seen := token.Away{From: from, To: f.unix()}
	rounds(t, 1, p)
	for slot, want := range map[int][]token.Away{0: nil, 5460: nil, 5461: {seen}, 10921: {seen}, 10922: nil, 16383: nil} {
		wantAway(t, fmt.Sprintf("slot %d", slot), p.of(slot), want...)
	}
	if len(f.lists) != 1 || !slices.Equal(p.outages, []string{"5461-10921 1m11s"}) {
		t.Errorf("lists %v, told %q", f.lists, p.outages)
	}
	p.store.conn = unused(t)
	for i := range 100 {
		id := token.GrantID{byte(i)}
		if got, want := p.store.Outages(id), p.of(redisconn.Slot(p.store.key(id))); !cmp.Equal(got, want) {
			t.Errorf("%v: %+v, want %+v", id, got, want)
		}
	}

	f.down[10922] = 0
	open := token.Away{From: f.unix() - 1000, To: math.MaxInt64}
	rounds(t, 5, p)
	f.shards = []redisconn.Shard{{First: 0, Last: 5000}, {First: 5001, Last: 10921}, {First: 10922, Last: 12000}, {First: 12001, Last: 16383}}
	f.down[12001] = 0
	rounds(t, 12, p)
	for slot, want := range map[int][]token.Away{0: nil, 5000: nil, 5001: {seen}, 5461: {seen}, 10922: {open}, 12001: {open}, 16383: {open}} {
		wantAway(t, fmt.Sprintf("after the resharding, slot %d", slot), p.of(slot), want...)
	}
	clear(f.down)
	rounds(t, 2, p)
	q := start(t, f)
	rounds(t, 1, q)
	for _, slot := range []int{0, 5001, 10922, 12001} {
		wantAway(t, fmt.Sprintf("a process that starts then, slot %d", slot), q.of(slot), p.of(slot).Away...)
	}
}

// A Cluster that does not answer at all when the process starts is away as a whole.
func TestMonitorOfAClusterThatIsDown(t *testing.T) {
	f := newFakeRedis(three...)
	f.noLayout = true
	for _, s := range three {
		f.down[s.First] = 0
	}
	p := start(t, f)
	from := f.unix()
	rounds(t, 10, p)
	clear(f.down)
	f.noLayout = false
	rounds(t, 3, p)
	for _, s := range three {
		if o := p.of(s.Last); len(o.Away) != 1 || o.Away[0].From != from || o.Since != from {
			t.Errorf("%s: %+v, asking since %d", s, o, from)
		}
	}
}

// While the store's clock is not known, nothing is, and nothing is forgotten.
func TestMonitorBeforeTheClockIsKnown(t *testing.T) {
	f := newFakeRedis(redisconn.Everything)
	p := &aProcess{store: &Store{}, fakeRedis: f}
	clock := token.NewClock(f.process)
	p.monitor = p.unmeasured(clock)
	from := f.unix()
	f.down[0] = 0
	rounds(t, 10, p)
	delete(f.down, 0)
	rounds(t, 1, p)
	if o := p.store.Outages(token.GrantID{}); o.Since != math.MaxInt64 || p.store.Away() != nil {
		t.Errorf("it is certain of %+v", o)
	}
	if err := clock.Measure(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	to := f.unix()
	rounds(t, 1, p)
	wantAway(t, "then", p.store.Outages(token.GrantID{}), token.Away{From: from, To: to})
}

// What can't be shared is told once, and what is not understood is left alone.
func TestMonitorThatCannotShare(t *testing.T) {
	f := newFakeRedis(redisconn.Everything)
	p := start(t, f)
	outage := func() {
		rounds(t, 2, p)
		f.down[0] = 0
		rounds(t, 2, p)
		delete(f.down, 0)
		rounds(t, 5, p)
	}
	f.refuses = errDown
	outage()
	if len(p.of(7).Away) != 1 || len(p.shared) != 1 || !errors.Is(p.shared[0], errDown) {
		t.Errorf("it knows %v, told %v", p.of(7).Away, p.shared)
	}
	f.refuses = nil
	rounds(t, 3, p)
	if len(p.shared) != 2 || p.shared[1] != nil || len(f.lists) != 1 {
		t.Errorf("once it can: told %v, lists %v", p.shared, f.lists)
	}
	for key := range f.lists {
		f.lists[key] = "2 of another version"
	}
	outage()
	if len(p.of(7).Away) != 2 || len(p.shared) != 3 || p.shared[2] == nil {
		t.Errorf("another version: it knows %v, told %v", p.of(7).Away, p.shared)
	}
	for _, list := range f.lists {
		if list != "2 of another version" {
			t.Errorf("it was replaced by %q", list)
		}
	}
}

func TestUnion(t *testing.T) {
	for name, tt := range map[string]struct{ a, b, want []token.Away }{
		"none":              {nil, nil, nil},
		"one":               {nil, away(1, 2), away(1, 2)},
		"apart":             {away(5, 6), away(1, 2), away(1, 2, 5, 6)},
		"touching":          {away(2, 3), away(1, 2), away(1, 3)},
		"overlapping":       {away(1, 5, 9, 12), away(3, 10), away(1, 12)},
		"one in another":    {away(1, 50), away(3, 10), away(1, 50)},
		"one has no end":    {away(1, 2), away(3, math.MaxInt64, 5, 6), away(1, 2, 3, math.MaxInt64)},
		"the same":          {away(1, 2, 5, 6), away(1, 2, 5, 6), away(1, 2, 5, 6)},
		"too many":          {long(maxList), away(100_000, 100_001), append(away(0, 11), append(long(maxList)[2:], token.Away{From: 100_000, To: 100_001})...)},
		"too many, one gap": {long(maxList), away(15, 18), append(away(0, 1, 10, 11, 15, 21), long(maxList)[3:]...)},
	} {
		if diff := cmp.Diff(tt.want, union(tt.a, tt.b), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (want -, got +):\n%s", name, diff)
		}
	}
}

// away returns times, each given as from, to.
func away(times ...int64) (all []token.Away) {
	for i := 0; i < len(times); i += 2 {
		all = append(all, token.Away{From: times[i], To: times[i+1]})
	}
	return all
}

// long returns n times away.
func long(n int64) (all []token.Away) {
	for i := range n {
		all = append(all, token.Away{From: 10 * i, To: 10*i + 1})
	}
	return all
}

func TestRecent(t *testing.T) {
	const now = 10_000_000
	all := away(5, 5, 6, 1, 0, now-3_600_000, 0, now-3_599_999, now-5, now+3_600_000, now-5, now+3_600_001, now+3000, now+5000, now+3001, now+5000, 0, math.MaxInt64)
	want := away(0, now-3_599_999, now-5, now+3_600_000, now+3000, now+5000)
	if diff := cmp.Diff(want, recent(all, now)); diff != "" {
		t.Error(diff)
	}
}

func TestListText(t *testing.T) {
	all := away(1764096000123, 1764096062345, 1764096100000, 1764096100001)
	const text = "1 1764096000123-1764096062345 1764096100000-1764096100001"
	if got := listText(all); got != text {
		t.Errorf("%q, want %q", got, text)
	}
	for _, list := range [][]token.Away{nil, all, long(maxList)} {
		if got, ok := parseList(listText(list)); !ok || !slices.Equal(got, list) {
			t.Errorf("%v: %v, %t", list, got, ok)
		}
	}
	for _, text := range []string{"", "2 1-2", "11", "1 ", "1 1", "1 1-", "1 -1-2", "1 a-2", "1 1-2  3-4", "1 1-99999999999999999999", "{}", "1\n1-2", listText(long(maxList + 1))} {
		if list, ok := parseList(text); ok {
			t.Errorf("%q is %v", text, list)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("1 1-2 3-4")
	f.Fuzz(func(t *testing.T, text string) {
		list, ok := parseList(text)
		if again, ok2 := parseList(listText(list)); ok && (!ok2 || !slices.Equal(again, list)) {
			t.Errorf("%q: %v, then %v", text, list, again)
		}
		known := recent(list, 1000)
		if len(union(known, known)) > maxList {
			t.Error("too many")
		}
	})
}

func TestOutagesAllocateNothing(t *testing.T) {
	k := &knowledge{last: []int{5460, 10921, 16383}, outages: make([]token.Outages, 3)}
	s := &Store{conn: unused(t)}
	s.known.Store(k)
	if n := testing.AllocsPerRun(100, func() { s.Outages(token.GrantID{1, 2, 3}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// unused is a connection that is not used.
func unused(t *testing.T) *redisconn.Conn {
	t.Helper()
	c, err := redisconn.Open(redisconn.Options{Addrs: []string{"127.0.0.1:1"}, Prefix: "authsvc:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
