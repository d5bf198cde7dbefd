package redisconn

import "github.com/redis/go-redis/v9"

// PoolStats counts the connections to all Redis servers that were used. In a Cluster these
// are the primaries that were sent a command for a key.
type PoolStats struct {
	Idle, InUse int // now
	// Waits and Timeouts count, since Open, how often a call waited for a connection, and
	// how often it got none in time.
	Waits, Timeouts uint64
}

// Pool returns the state of the connections. It sends nothing to Redis, and takes
// microseconds.
func (r *Conn) Pool() PoolStats {
	if r.cluster == nil {
		var s PoolStats
		s.add(r.only.client)
		return s
	}
	r.leaving.Lock()
	defer r.leaving.Unlock()
	s := r.left
	r.nodes.Range(func(c, _ any) bool {
		s.add(c.(*redis.Client))
		return true
	})
	return s
}

// add adds the connections of a client: its own, and those of its pipeline.
func (s *PoolStats) add(c *redis.Client) {
	for p := c.PoolStats(); p != nil; p = (*redis.PoolStats)(p.PipelineStats) {
		s.Idle += int(p.IdleConns)
		s.InUse += max(0, int(p.TotalConns)-int(p.IdleConns)) // the two are not read atomically
		s.Waits += uint64(p.WaitCount)
		s.Timeouts += uint64(p.Timeouts)
	}
}
