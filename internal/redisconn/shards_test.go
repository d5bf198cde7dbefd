package redisconn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"authsvc/internal/redistest"
)

func TestSlot(t *testing.T) {
	// The first three are from the Cluster specification and from redis-cli.
	for key, want := range map[string]int{"123456789": 0x31c3, "foo": 12182, "a{foo}b": 12182, "": 0} {
		if got := Slot(key); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
	}
	for range 1000 {
		key := make([]byte, rand.N(40))
		for i := range key {
			key[i] = "ab{}\x00\xff"[rand.N(6)]
		}
		if got, want := Slot(string(key)), redistest.Slot(string(key)); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
	}
}

func TestShardKey(t *testing.T) {
	for _, first := range []int{0, 1, 5461, 10923, 16383} {
		s := Shard{first, 16383}
		if key := s.Key("p:", "x"); Slot(key) != first || key[:3] != "p:{" || key[len(key)-2:] != "}x" {
			t.Errorf("%v: %q is in slot %d", s, key, Slot(key))
		}
	}
}

func TestShardsOf(t *testing.T) {
	slots := func(ends ...int) (all []redis.ClusterSlot) {
		for i := 0; i < len(ends); i += 2 {
			all = append(all, redis.ClusterSlot{Start: ends[i], End: ends[i+1]})
		}
		return all
	}
	for name, tt := range map[string]struct {
		ranges []redis.ClusterSlot
		want   string
	}{
		"three":          {slots(10923, 16383, 0, 5460, 5461, 10922), "[0-5460 5461-10922 10923-16383]"},
		"one":            {slots(0, 16383), "[all]"},
		"gaps":           {slots(5, 10, 12, 12, 20, 16000), "[0-4 5-10 11-11 12-12 13-19 20-16000 16001-16383]"},
		"none":           {nil, "[all]"},
		"two claim some": {slots(0, 100, 50, 16383, 60, 70), "[0-100 101-16383]"},
	} {
		if got := fmt.Sprint(shardsOf(tt.ranges)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestShards(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, on redistest.Site) {
		c := openURL(t, on.URL)
		var got []Shard
		redistest.Succeeds(t, "the shards to be read", func(ctx context.Context) (err error) {
			got, err = c.Shards(ctx)
			return err
		})
		want := []Shard{{0, 16383}}
		if c.cluster != nil {
			want = []Shard{{0, 5460}, {5461, 10921}, {10922, 16383}}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}
