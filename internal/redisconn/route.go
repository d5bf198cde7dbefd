package redisconn

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// nodeOf returns the primary that has a key, as far as is known.
func (r *Conn) nodeOf(ctx context.Context, key string) (*node, error) {
	if r.cluster == nil {
		return r.only, nil
	}
	if err := r.layout.refuses(); err != nil {
		return nil, err
	}
	c, err := r.cluster.MasterForKey(ctx, key)
	if err != nil {
		if isConnectionError(err) {
			r.layout.failed(err)
		}
		return nil, err
	}
	r.layout.succeeded()
	if n, ok := r.nodes.Load(c); ok {
		return n.(*node), nil
	}
	n, err := r.newNode(c, c.Options().Addr)
	if err != nil {
		return nil, err
	}
	r.forgetLeft()
	kept, _ := r.nodes.LoadOrStore(c, n) // both have the same pipeline, the client's
	return kept.(*node), nil
}

// forgetLeft forgets the nodes that left the Cluster.
func (r *Conn) forgetLeft() {
	r.leaving.Lock()
	defer r.leaving.Unlock()
	r.nodes.Range(func(c, n any) bool {
		if n.(*node).pipe.IsClosed() {
			r.nodes.Delete(c)
			r.left.add(c.(*redis.Client))
			r.left.Idle, r.left.InUse = 0, 0
		}
		return true
	})
}

// eachPrimary calls f for each primary, with its address, concurrently, and returns an
// error of f, if there is one.
func (r *Conn) eachPrimary(ctx context.Context, f func(ctx context.Context, addr string, c *redis.Client) error) error {
	switch {
	case r.cluster != nil:
		var any atomic.Bool
		err := r.cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			any.Store(true)
			return f(ctx, c.Options().Addr, c)
		})
		if err == nil && !any.Load() {
			err = errNoSlots
		}
		return err
	case r.sentinels != nil:
		return f(ctx, cmp.Or(whereIs(ctx, r.only.client), r.only.name), r.only.client)
	}
	return f(ctx, r.only.client.Options().Addr, r.only.client)
}

// whereIs returns the address of the primary that the Sentinels name, as the primary
// reports it: go-redis does not expose what the Sentinels say.
func whereIs(ctx context.Context, c *redis.Client) string {
	info, _ := c.Do(ctx, "CLIENT", "INFO").Text() // it may not be permitted
	_, rest, _ := strings.Cut(info, " laddr=")
	addr, _, _ := strings.Cut(rest, " ")
	return addr
}

// timeSource reads the time in a script, because Redis refuses scripts while it does not
// serve: while it loads its data, or, with a key, while the Cluster is down.
const timeSource = "return redis.call('TIME')"

// Now returns the time of Redis's clock. It uses a connection of its own, bypassing the
// queue and the breaker, and is not repeated: its caller subtracts half of the round trip.
// Its error is an *Error.
//
// In a Cluster it is the time of the primary that has the slot of the prefix, so that all
// processes use the same clock; if that primary does not answer, of any other.
func (r *Conn) Now(ctx context.Context) (time.Time, error) {
	t, err := r.now(ctx)
	if err != nil {
		return time.Time{}, failed(err)
	}
	return t, nil
}

func (r *Conn) now(ctx context.Context) (t time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return t, err
	}
	n, err := r.nodeOf(ctx, r.prefix)
	if err != nil {
		return t, err
	}
	if r.cluster != nil {
		err = n.breaker.refuses()
	}
	if err == nil {
		t, err = timeOf(ctx, n.client, r.prefix)
		r.note(n, r.prefix, err)
	}
	if err != nil && r.cluster != nil && !redis.IsClusterDownError(err) {
		return r.nowElsewhere(ctx, n.client, err)
	}
	return t, err
}

// nowElsewhere returns the time of any primary except one, which failed with cause.
func (r *Conn) nowElsewhere(ctx context.Context, but *redis.Client, cause error) (found time.Time, err error) {
	var mu sync.Mutex
	err = r.eachPrimary(ctx, func(ctx context.Context, _ string, c *redis.Client) error {
		if c == but {
			return nil
		}
		t, err := timeOf(ctx, c, r.prefix)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		found = t
		return nil
	})
	if !found.IsZero() {
		return found, nil
	}
	return found, cmp.Or(err, cause) // cause, if there is no other primary
}

// timeOf returns the time of a server, if it serves requests for a key or redirects them.
func timeOf(ctx context.Context, c *redis.Client, key string) (time.Time, error) {
	reply, err := c.Eval(ctx, timeSource, []string{key}).StringSlice()
	if isRedirection(err) {
		reply, err = c.Eval(ctx, timeSource, nil).StringSlice()
	}
	if err != nil {
		return time.Time{}, err
	}
	if len(reply) == 2 {
		seconds, err1 := strconv.ParseInt(reply[0], 10, 64)
		micros, err2 := strconv.ParseInt(reply[1], 10, 64)
		if err1 == nil && err2 == nil {
			return time.Unix(seconds, micros*int64(time.Microsecond)), nil
		}
	}
	return time.Time{}, errNotATime
}
