package redisconn

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// poolSize bounds the connections to one Redis; only a few are in use at a time.
	// After this many failed dials, go-redis dials only once a second: it is large so
	// that a Redis that answers again is found at once.
	poolSize = 100
	// roleValid is how long a connection to a single Redis is used: its role is checked
	// only when it is made, and a primary that becomes a replica keeps its connections.
	roleValid = 2 * time.Second
)

// silence keeps go-redis from writing to standard error: each of its errors is also
// returned to a caller, and logged there.
var silence = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

type quiet struct{}

// Printf writes nothing.
func (quiet) Printf(context.Context, string, ...any) {}

// clientOptions returns the options of go-redis.
func clientOptions(opts Options) *redis.UniversalOptions {
	wait := timeoutsOf(opts.Timeout)
	o := &redis.UniversalOptions{
		Addrs: opts.Addrs, MasterName: opts.Primary, DB: opts.DB, TLSConfig: opts.TLS,
		Username: opts.User, Password: opts.Password, SentinelUsername: opts.SentinelUser, SentinelPassword: opts.SentinelPassword,

		ClientName:      cmp.Or(opts.ClientName, "authsvc"),
		DisableIdentity: true, // saves a round trip on each connection
		// A command whose reply was lost may have been executed. Only its
		// owner knows whether it can be sent again (Cmd.Repeatable).
		MaxRetries:            -1,
		DialerRetries:         1,
		ContextTimeoutEnabled: true,
		DialTimeout:           wait.whole,
		ReadTimeout:           wait.io,
		WriteTimeout:          wait.io,
		PoolTimeout:           wait.io,
		PoolSize:              poolSize,
		PipelinePoolSize:      poolSize,
		// These would relax the timeouts while a managed Redis is upgraded.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if opts.Topology != Cluster { // a replica in a Cluster redirects its callers
		o.OnConnect = func(ctx context.Context, c *redis.Conn) error {
			return refuseReplica(ctx, c, opts.Topology == Sentinel)
		}
	}
	if opts.Topology == Single { // Sentinels close the connections of a primary that they replace
		o.ConnMaxLifetime = roleValid
	}
	return o
}

// refuseReplica refuses a connection to a replica: it would answer reads with outdated
// data, and a token that has just been revoked would pass. A connection can end up there
// in a failover. go-redis also calls it for connections to Sentinels.
func refuseReplica(ctx context.Context, c *redis.Conn, sentinels bool) error {
	reply, err := c.Do(ctx, "ROLE").Slice()
	if kind, _ := refusalOf(err); kind == commandMissing { // as in Redis Enterprise
		info, err := c.Info(ctx, "replication").Result()
		if err == nil && strings.Contains(info, "role:slave") {
			err = ErrReplica
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("reading the role of Redis: %w", err)
	}
	switch {
	case len(reply) > 0 && (reply[0] == "master" || reply[0] == "sentinel" && sentinels):
		return nil
	case len(reply) > 0 && reply[0] == "sentinel":
		return errIsSentinel
	case len(reply) > 2:
		return replicaError{fmt.Sprint(reply[1], ":", reply[2])}
	}
	return ErrReplica
}

// replicaError is ErrReplica with the primary's host:port. It does not unwrap to
// ErrReplica: go-redis would return what the error of a hook wraps instead of the error.
type replicaError struct{ primary string }

func (e replicaError) Error() string        { return ErrReplica.Error() + ", " + e.primary }
func (e replicaError) Is(target error) bool { return target == ErrReplica }
