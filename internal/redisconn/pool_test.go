package redisconn

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"authsvc/internal/redistest"
)

// Every connection that there is, is in the pools: the servers say how many.
func TestPoolCountsConnections(t *testing.T) {
	t.Parallel()
	redistest.OnEach(t, func(t *testing.T, on redistest.Site) {
		opts := options(t, on.URL)
		opts.ClientName = "pool-test"
		s := openWith(t, opts)
		if p := s.Pool(); p != (PoolStats{}) {
			t.Errorf("%+v before it was used", p)
		}
		for i := range 50 {
			if _, err := get(t.Context(), s, fmt.Sprint(prefix, i)); !errors.Is(err, ErrNil) {
				t.Fatal(err)
			}
		}
		if _, err := s.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, "as many connections as the servers have", func() bool {
			n := 0
			for _, server := range on.Servers {
				list, err := server.Client().ClientList(t.Context()).Result()
				if err != nil {
					t.Fatal(err)
				}
				n += strings.Count(list, " name=pool-test ")
			}
			p := s.Pool()
			return n > 1 && p.Idle+p.InUse == n
		})
	})
}

// What was counted of a node that has left the Cluster stays counted: for
// Prometheus, a counter that falls has started anew.
func TestPoolCountsOnlyUp(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	s := openRaw(t, options(t, c.URL()), queueLimit, func(o *redis.UniversalOptions) { o.PoolSize = 1 })
	var wg sync.WaitGroup
	for range 50 { // for one connection of one primary
		wg.Go(func() { _, _ = s.Now(t.Context()) })
	}
	wg.Wait()
	before := s.Pool()
	if before.Waits == 0 || before.Idle+before.InUse == 0 {
		t.Fatalf("%+v: nobody waited for a connection", before)
	}
	nodes := 0
	s.nodes.Range(func(client, _ any) bool {
		nodes++
		_ = client.(*redis.Client).Close() // as go-redis does
		return true
	})
	s.forgetLeft()
	s.nodes.Range(func(any, any) bool { t.Error("a node that left is kept"); return true })
	if after := s.Pool(); nodes == 0 || after != (PoolStats{Waits: before.Waits, Timeouts: before.Timeouts}) {
		t.Errorf("%+v, and %+v once %d nodes had left", before, after, nodes)
	}
}
