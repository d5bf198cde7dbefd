package redisconn

import "github.com/redis/go-redis/v9"

// PoolStats are the connections to all Redis servers together that were used. In a
// Cluster that is each primary that was sent a command for a key.
type PoolStats struct {
	Idle, InUse int // now
	// Waits and Timeouts count, since Open, how often a connection had to be waited
	// for, and how often there was none in time.
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
		s.InUse += max(0, int(p.TotalConns)-int(p.IdleConns)) // they are not read at the same moment
		s.Waits += uint64(p.WaitCount)
		s.Timeouts += uint64(p.Timeouts)
	}
}
