package redisconn

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// A sample takes at most sampleScans calls of SCAN, each of which visits about scanCount
// keys, whether or not they belong to the service.
const (
	sampleScans = 5
	scanCount   = 200
)

// sampler remembers how far the keys of each primary have been scanned. It is safe for
// concurrent use.
type sampler struct {
	mu      sync.Mutex
	cursors map[string]uint64 // by address
}

// read takes the next sample of a primary's keys.
func (s *sampler) read(ctx context.Context, c *redis.Client, f *NodeFacts) error {
	s.mu.Lock()
	cursor := s.cursors[f.Addr]
	s.mu.Unlock()
	for range sampleScans {
		keys, err := query(ctx, f, "scan", func() (keys []string, err error) {
			keys, cursor, err = c.Scan(ctx, cursor, f.Keys, scanCount).Result()
			return keys, err
		})
		if err == nil && len(keys) > 0 {
			err = f.countEndless(ctx, c, keys)
		}
		if redis.HasErrorPrefix(err, "LOADING") {
			f.Loading = true // INFO may have been read just before
			return nil
		}
		if err != nil {
			return err
		}
		if cursor == 0 || !f.Knows("pttl") {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cursors == nil {
		s.cursors = map[string]uint64{}
	}
	s.cursors[f.Addr] = cursor
	return nil
}

func (f *NodeFacts) countEndless(ctx context.Context, c *redis.Client, keys []string) error {
	const gone, endless = -2, -1 // PTTL
	left, err := query(ctx, f, "pttl", func() ([]int64, error) {
		pipe := c.Pipeline()
		var cmds []*redis.Cmd
		for _, k := range keys {
			cmds = append(cmds, pipe.Do(ctx, "PTTL", k))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, err
		}
		var left []int64
		for _, cmd := range cmds {
			ms, err := cmd.Int64()
			if err != nil {
				return nil, err
			}
			left = append(left, ms)
		}
		return left, nil
	})
	for _, ms := range left {
		if ms != gone {
			f.Sampled++
		}
		if ms == endless {
			f.Endless++
		}
	}
	return err
}

// forget forgets the servers that are no longer primaries.
func (s *sampler) forget(but []NodeFacts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr := range s.cursors {
		if !slices.ContainsFunc(but, func(f NodeFacts) bool { return f.Addr == addr }) {
			delete(s.cursors, addr)
		}
	}
}
