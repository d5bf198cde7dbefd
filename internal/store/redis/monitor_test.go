package redis_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"authsvc/internal/redistest"
	"authsvc/internal/store"
	"authsvc/internal/store/redis"
	"authsvc/internal/token"
)

// monitored returns a store whose shards are monitored as those of one process.
func monitored(t *testing.T, url string, opts store.Options) *redis.Store {
	t.Helper()
	opts.Timeout = 300 * time.Millisecond
	s := openWith(t, at(t, url), opts)
	clock := token.NewClock(time.Now)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		redistest.Succeeds(t, "the clock to be measured", func(ctx context.Context) error { return clock.Measure(ctx, s) })
		s.Monitor(ctx, clock)
	}()
	t.Cleanup(func() { stop(); <-done })
	redistest.Eventually(t, "each shard to be asked", func() bool { o := s.Outages(token.GrantID{}); return o.Since != math.MaxInt64 && o.Until != 0 })
	return s
}

// isAway reports whether the shard of a grant is away now.
func isAway(s *redis.Store, id token.GrantID) bool {
	away := s.Outages(id).Away
	return len(away) > 0 && away[len(away)-1].To == math.MaxInt64
}

// A shard that stops answering is away from then on until another primary answers, or the
// same again. The other shards of a Cluster are not. A process that starts later knows.
func TestEachTopologyMonitorsItsShards(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, on redistest.Site) {
		s := monitored(t, on.URL, store.Options{})
		id, other := token.GrantID{1}, token.GrantID{1}
		primary := on.PrimaryOf(keyOf(id))
		for i := byte(2); other == id && len(on.Servers) == 6; i++ {
			if on.PrimaryOf(keyOf(token.GrantID{i})) != primary {
				other = token.GrantID{i}
			}
		}
		primary.Pause()
		redistest.Eventually(t, "an outage", func() bool { return isAway(s, id) })
		if other != id && len(s.Outages(other).Away) > 0 {
			t.Errorf("the other shards are away as well: %v", s.Outages(other).Away)
		}
		if len(on.Servers) == 1 {
			primary.Resume()
		} else { // a replica is promoted, and then the old primary continues
			defer primary.Resume()
		}
		redistest.Eventually(t, "its end", func() bool { return !isAway(s, id) })
		seen := s.Outages(id).Away
		if len(seen) == 0 || seen[0].From >= seen[0].To {
			t.Fatalf("it saw %v", seen)
		}
		late := monitored(t, on.URL, store.Options{})
		redistest.Eventually(t, "a process that starts later to know", func() bool {
			known := late.Outages(id).Away
			return len(known) > 0 && known[0].From <= seen[0].From && known[0].To >= seen[0].To
		})
		if len(late.Outages(other).Away) > 0 && other != id {
			t.Errorf("it takes the other shards for away: %v", late.Outages(other).Away)
		}
	})
}

// Whatever a Redis answers but a value or none, it could not be asked.
func TestMonitorNeedsAnAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		args       []string
		begin, end func(*redistest.Server)
	}{
		"killed": {nil, (*redistest.Server).Kill, (*redistest.Server).Restart},
		"busy": {
			[]string{"--lua-time-limit", "10"},
			func(s *redistest.Server) { go s.Client().Eval(context.Background(), "while true do end", nil) },
			func(s *redistest.Server) { s.Client().ScriptKill(context.Background()) },
		},
		"not permitted": {
			nil,
			func(s *redistest.Server) { s.Client().Do(context.Background(), "ACL", "SETUSER", "default", "-get") },
			func(s *redistest.Server) { s.Client().Do(context.Background(), "ACL", "SETUSER", "default", "+get") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, c.args...)
			over := make(chan time.Duration, 1)
			s := monitored(t, server.URL(), store.Options{OnOutage: func(_ string, d time.Duration) { over <- d }})
			c.begin(server)
			redistest.Eventually(t, "an outage", func() bool { return isAway(s, token.GrantID{}) })
			c.end(server)
			redistest.Eventually(t, "its end", func() bool { return !isAway(s, token.GrantID{}) })
			took := <-over
			if away := s.Away()["all"]; took <= 0 || away < took {
				t.Errorf("it took %v, away for %v in all", took, away)
			}
		})
	}
}

// A full Redis can still be told of an outage.
func TestMonitorOfAFullRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
	shared := make(chan error, 1)
	s := monitored(t, server.URL(), store.Options{OnShared: func(err error) { shared <- err }})
	if err := s.Create(t.Context(), token.GrantID{}, one, later()); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("the Redis is not full: %v", err)
	}
	server.Pause()
	redistest.Eventually(t, "an outage", func() bool { return isAway(s, token.GrantID{}) })
	server.Resume()
	redistest.Eventually(t, "a list", func() bool { return len(server.Dump()) == 1 })
	dump := server.Dump()
	if ttl := server.Client().PTTL(t.Context(), dump[0].Key).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("it expires in %v", ttl)
	}
	select {
	case err := <-shared:
		t.Errorf("it could not be shared: %v", err)
	default:
	}
	if !strings.HasPrefix(dump[0].Key, "authsvc:{") {
		t.Errorf("the list is %q", dump[0].Key)
	}
}
