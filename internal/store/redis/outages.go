package redis

import (
	"context"
	_ "embed" // for outages.lua
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"authsvc/internal/redisconn"
	"authsvc/internal/token"
)

//go:embed outages.lua
var outagesSource string

var putOutages = redisconn.NewScript(outagesSource)

const (
	// askEvery is how often each shard is asked. A replay is decided again after half a
	// second, and then with what other processes wrote before it came.
	askEvery = 400 * time.Millisecond
	// askAwayEvery is the same while one does not answer.
	askAwayEvery = 250 * time.Millisecond
	// layoutEvery is how often the shards of a Cluster are read.
	layoutEvery = 10 * time.Second
	// longestRead is how long a read may take, with its repetition, and so the longest time
	// between two. It is
	// enough for a Redis 200 ms away, where a read over a new connection takes over a
	// second; with askEvery it is less than token.MaxSilence.
	longestRead = 2 * time.Second
)

// conn is what a monitor needs of a redisconn.Conn.
type conn interface {
	Shards(context.Context) ([]redisconn.Shard, error)
	Do(ctx context.Context, key string, cmd redisconn.Cmd) (any, error)
	Run(ctx context.Context, s *redisconn.Script, key string, args ...any) (any, error)
}

// monitor asks each shard for its list of outages: by whether that is answered it sees
// outages, and from the answer it learns those that other processes saw. What it knows and
// the list does not say, it adds to the list.
type monitor struct {
	Options
	clock    *token.Clock
	conn     conn
	prefix   string
	began    time.Time // by the process clock, as all times but those of lists
	layoutAt time.Time // the last time that the shards were read
	shards   []*shard  // in the order of their slots, which are all slots
	unshared bool
	known    *atomic.Pointer[knowledge]
}

// shard is what is known of one shard.
type shard struct {
	redisconn.Shard
	key    string
	good   time.Time     // when the last read that was answered was sent, or asking began or went on
	failed bool          // a read since then was not answered
	seen   []token.Away  // its outages
	still  []token.Away  // when this process stood still; others may have been answered then
	away   time.Duration // in all
	list   string        // as it was read last; "" for none
	lacks  bool          // the list lacks something that was seen
}

// knowledge is what a process knows at a time. It does not change.
type knowledge struct {
	last    []int // the last slot of each shard
	outages []token.Outages
	away    map[string]time.Duration
}

// Outages returns the outages of the shard that has a grant, as far as Monitor knows. It
// takes less than a microsecond.
func (s *Store) Outages(id token.GrantID) token.Outages {
	k := s.known.Load()
	switch {
	case k == nil:
		return token.Outages{Since: math.MaxInt64}
	case len(k.outages) == 1:
		return k.outages[0]
	}
	var key [128]byte // so that it takes no allocation
	return k.of(redisconn.Slot(appendKey(key[:0], s.conn.Prefix(), id)))
}

// of returns the outages of the shard that has a slot.
func (k *knowledge) of(slot int) token.Outages { return k.outages[sort.SearchInts(k.last, slot)] }

// Away returns for how long each shard could not be asked since Monitor was called, by its
// slots ("0-5460"), or by "all".
func (s *Store) Away() map[string]time.Duration {
	if k := s.known.Load(); k != nil {
		return k.away
	}
	return nil
}

// Monitor asks each shard at least once a second, until ctx ends. It is called once.
func (s *Store) Monitor(ctx context.Context, clock *token.Clock) {
	m := &monitor{Options: s.opts, clock: clock, conn: s.conn, prefix: s.conn.Prefix(), began: clock.Process(), known: &s.known}
	m.run(ctx)
}

func (m *monitor) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := m.clock.Process()
		m.round(ctx)
		every := askEvery
		if m.known.Load() == nil || slices.ContainsFunc(m.shards, func(s *shard) bool { return s.failed }) {
			every = askAwayEvery
		}
		t := time.NewTimer(every - m.clock.Process().Sub(began))
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

// round asks each shard once.
func (m *monitor) round(ctx context.Context) {
	var tasks sync.WaitGroup
	var found []redisconn.Shard
	if m.shards == nil || m.clock.Process().Sub(m.layoutAt) >= layoutEvery {
		tasks.Go(func() { found = m.layout(ctx) })
	}
	if m.shards == nil {
		tasks.Wait()
		m.shards, found = regroup(nil, found, m.prefix, m.began), nil
	}
	reads := make([]read, len(m.shards))
	for i, s := range m.shards {
		tasks.Go(func() { reads[i] = m.ask(ctx, s.key) })
	}
	tasks.Wait()
	if ctx.Err() != nil {
		return
	}
	_, err := m.clock.Now()
	dated := err == nil // else refreshes are refused as well
	for i, s := range m.shards {
		if !reads[i].answered {
			m.missed(s, reads[i], dated)
		} else if dated {
			m.answered(s, reads[i])
		}
	}
	if dated {
		m.publish()
		m.share(ctx)
	}
	if found != nil {
		m.shards = regroup(m.shards, found, m.prefix, m.began)
	}
}

// layout returns which shards there are, or nil if that can't be read now.
func (m *monitor) layout(ctx context.Context) []redisconn.Shard {
	now := m.clock.Process()
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	found, err := m.conn.Shards(ctx)
	if err != nil {
		return nil
	}
	m.layoutAt = now
	return found
}

// regroup returns the state of the shards that were found. After a resharding, a new shard
// has the outages of each shard that it has a slot of: longer ones, if in doubt.
func regroup(shards []*shard, found []redisconn.Shard, prefix string, began time.Time) []*shard {
	if found == nil {
		found = []redisconn.Shard{redisconn.Everything} // a Cluster that has not answered yet
	}
	next := make([]*shard, len(found))
	for i, f := range found {
		s := &shard{Shard: f}
		for _, old := range shards {
			switch {
			case old.Shard == f:
				s = old
			case old.First <= f.Last && f.First <= old.Last:
				if s.good.IsZero() || old.good.Before(s.good) {
					s.good = old.good
				}
				s.failed = s.failed || old.failed
				s.seen, s.still = union(s.seen, old.seen), union(s.still, old.still)
				s.away = max(s.away, old.away)
			}
		}
		if s.good.IsZero() {
			s.good = began
		}
		if s.key == "" {
			s.key = f.Key(prefix, "outages")
		}
		next[i] = s
	}
	return next
}

// read is one read of a shard's list: when it was sent, the first and the last time, and
// when it ended.
type read struct {
	first, sent, ended time.Time
	answered           bool
	list               string // "" for none
}

// ask reads a list, twice if it has to: what fails a single request is no outage.
func (m *monitor) ask(ctx context.Context, key string) (r read) {
	ctx, cancel := context.WithTimeout(ctx, longestRead)
	defer cancel()
	r.first = m.clock.Process()
	for n := 0; n < 2 && !r.answered; n++ {
		each, cancel := context.WithTimeout(ctx, m.Timeout)
		r.sent = m.clock.Process()
		reply, err := m.conn.Do(each, key, redisconn.Cmd{Args: []any{"GET", key}, Repeatable: true})
		r.ended = m.clock.Process()
		r.answered = err == nil || errors.Is(err, redisconn.ErrNil)
		r.list, _ = reply.(string)
		cancel()
	}
	return r
}

// missed records a read that was not answered.
func (m *monitor) missed(s *shard, r read, dated bool) {
	s.lacks = false // until it is read
	switch {
	case r.ended.Sub(r.first) > token.MaxSilence: // this process stood still, and nothing is known of the shard
		return
	case dated && !s.failed && r.first.Sub(s.good) > token.MaxSilence: // it stood still before it asked
		s.still = union(s.still, []token.Away{{From: m.unix(s.good), To: m.unix(r.first)}})
		s.good = r.first
	}
	s.failed = true
}

// answered records a read that was answered.
func (m *monitor) answered(s *shard, r read) {
	away := []token.Away{{From: m.unix(s.good), To: m.unix(r.ended)}}
	switch {
	case s.failed:
		s.seen = union(s.seen, away)
		took := r.ended.Sub(s.good)
		s.away += took
		m.OnOutage(s.String(), took)
	case r.sent.Sub(s.good) > token.MaxSilence:
		s.still = union(s.still, away)
	}
	s.good, s.failed, s.list = r.sent, false, r.list
	now := m.unix(r.ended)
	list, _ := parseList(r.list)
	list = recent(list, now)
	s.seen, s.still = union(list, recent(s.seen, now)), recent(s.still, now)
	s.lacks = !slices.Equal(list, s.seen)
}

// unix returns a time of the process clock in unix milliseconds by the store's clock.
func (m *monitor) unix(t time.Time) int64 {
	at, _ := m.clock.At(t) // round has made sure of the clock
	return at.UnixMilli()
}

func (m *monitor) publish() {
	k := &knowledge{away: map[string]time.Duration{}}
	for _, s := range m.shards {
		away := s.away
		o := token.Outages{Since: m.unix(m.began), Until: m.unix(s.good)}
		if s.failed {
			o.Until = 0
			o.Away = union(s.seen, s.still, []token.Away{{From: m.unix(s.good), To: math.MaxInt64}})
			away += m.clock.Process().Sub(s.good)
		} else {
			o.Away = union(s.seen, s.still)
		}
		k.last, k.outages, k.away[s.String()] = append(k.last, s.Last), append(k.outages, o), away
	}
	m.known.Store(k)
}

// share adds to the lists what was seen and they lack. If another process changes a list
// meanwhile, that is for the next round.
func (m *monitor) share(ctx context.Context) {
	var tasks sync.WaitGroup
	errs, any := make([]error, len(m.shards)), false
	for i, s := range m.shards {
		if s.lacks {
			any = true
			tasks.Go(func() { errs[i] = m.put(ctx, s) })
		}
	}
	tasks.Wait()
	if err := errors.Join(errs...); any && (err != nil) != m.unshared && ctx.Err() == nil {
		m.unshared = err != nil
		m.OnShared(err)
	}
}

func (m *monitor) put(ctx context.Context, s *shard) error {
	if _, ok := parseList(s.list); !ok && s.list != "" {
		return fmt.Errorf("the list of the outages of %s is not of this version", s)
	}
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	end := time.UnixMilli(s.seen[len(s.seen)-1].To)
	_, err := m.conn.Run(ctx, putOutages, s.key, s.list, listText(s.seen), millis(end.Add(maxAge)))
	return err
}
