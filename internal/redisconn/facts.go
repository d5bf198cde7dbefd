package redisconn

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// NodeFacts holds what one primary says about itself, and what its answers show. Judging
// it is the job of others.
type NodeFacts struct {
	Addr string // host:port
	User string // the service's user, as the ACL names it
	DB   int    // the database of the service's keys
	Keys string // the pattern of the keys of grants

	// Unreadable are the commands, as the ACL names them, that the primary did not let
	// this user run. The fields that depend on them are zero: info fills the next
	// group, and config|get, time, and scan with pttl the groups after it.
	Unreadable []string

	Version        string
	Cluster        bool   // it is a node of a Redis Cluster
	Loading        bool   // it is still loading its data from disk
	Memory         int64  // bytes in use
	MaxMemory      int64  // bytes; 0: no limit
	SystemMemory   int64  // bytes of the machine; 0: not known
	Eviction       string // maxmemory-policy
	AOF            bool   // appendonly
	AOFFailed      bool   // the last write to the append-only file
	SnapshotFailed bool   // the last snapshot
	Replicas       int    // connected
	ReplicasOnline int    // of these, the ones in sync
	// Strangers are the replicas (host:port) that refuse the user: after a failover to
	// one, nothing works. Those that do not answer are not included, nor are those of a
	// single Redis, which the service never connects to.
	Strangers []string

	Fsync       string // appendfsync
	Snapshots   string // save: seconds and changes; empty for none
	MinReplicas int    // min-replicas-to-write

	// ClockOffset is how far its clock is ahead of this process's, plus or minus
	// ClockError: half of the shortest of a few round trips, over a connection in use.
	ClockOffset, ClockError time.Duration

	// Sampled is the number of keys of grants in the sample, and Endless how many of
	// them have no expiry.
	Sampled, Endless int
}

// RoundTrip returns how long a round trip to the primary takes at least; 0 if that is not
// known.
func (f *NodeFacts) RoundTrip() time.Duration { return 2 * f.ClockError }

// Knows reports whether the primary let this user run a command, such as config|get.
func (f *NodeFacts) Knows(command string) bool { return !slices.Contains(f.Unreadable, command) }

// Facts returns what each primary says about itself, with a sample of the keys that
// continues where the previous one ended, so that repeated calls see all of them. A call
// costs a primary a few milliseconds at most.
//
// The facts are in the order of the addresses. If a primary does not answer, Facts returns
// an *Error besides the facts of the others. A command that is not permitted is a fact.
func (r *Conn) Facts(ctx context.Context) ([]NodeFacts, error) {
	var mu sync.Mutex
	var all []NodeFacts
	err := r.eachPrimary(ctx, func(ctx context.Context, addr string, c *redis.Client) error {
		f := NodeFacts{Addr: addr, User: userOf(c), DB: c.Options().DB, Keys: r.prefix + "[^{]*"}
		if err := f.read(ctx, c, &r.samples, r.sentinels != nil || r.cluster != nil); err != nil {
			return fmt.Errorf("reading the facts of Redis at %s: %w", addr, err)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, f)
		return nil
	})
	slices.SortFunc(all, func(a, b NodeFacts) int { return cmp.Compare(a.Addr, b.Addr) })
	r.samples.forget(all)
	if err != nil {
		err = failed(err)
	}
	return all, err
}

func userOf(c *redis.Client) string { return cmp.Or(c.Options().Username, "default") }

// repeat calls run, which must be safe to repeat, and calls it again if the connection
// fails.
func repeat[T any](ctx context.Context, run func() (T, error)) (T, error) {
	for n := 0; ; n++ {
		value, err := run()
		if err == nil || n == repeats || !isConnectionError(err) || !pause(ctx) {
			return value, err
		}
	}
}

// query is like repeat, but if the command is answered with an error, because it is not
// permitted or does not exist, query records that and returns zero. A Redis that does not
// serve yet is not such a case.
func query[T any](ctx context.Context, f *NodeFacts, command string, run func() (T, error)) (T, error) {
	value, err := repeat(ctx, run)
	if isRedirection(err) { // a key that is being moved to another node
		var zero T
		return zero, nil
	}
	if isAnswer(err) && !isToAll(err) {
		f.Unreadable = append(f.Unreadable, command)
		var zero T
		return zero, nil
	}
	return value, err
}

// isToAll reports whether an error reply concerns all commands, not just one.
func isToAll(err error) bool {
	return redis.IsLoadingError(err) || redis.IsMasterDownError(err) || redis.IsClusterDownError(err) ||
		redis.HasErrorPrefix(err, "BUSY") || redis.IsAuthError(err) ||
		redis.HasErrorPrefix(err, "DB index") || redis.HasErrorPrefix(err, "SELECT")
}

func (f *NodeFacts) read(ctx context.Context, c *redis.Client, s *sampler, failsOver bool) error {
	err := f.readInfo(ctx, c, failsOver)
	if err == nil {
		err = f.readConfig(ctx, c)
	}
	if err == nil {
		err = f.readClock(ctx, c)
	}
	if err == nil {
		err = s.read(ctx, c, f)
	}
	return err
}

func (f *NodeFacts) readInfo(ctx context.Context, c *redis.Client, failsOver bool) error {
	// This names no sections: before 7.0 only one could be named, and such a version must
	// be detected.
	text, err := query(ctx, f, "info", func() (string, error) { return c.Info(ctx).Result() })
	if err != nil {
		return err
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(info[name], 10, 64)
		return n
	}
	f.Version, f.Eviction = info["redis_version"], info["maxmemory_policy"]
	f.Cluster, f.Loading, f.AOF = info["cluster_enabled"] == "1", info["loading"] == "1", info["aof_enabled"] == "1"
	f.Memory, f.MaxMemory, f.SystemMemory = number("used_memory"), number("maxmemory"), number("total_system_memory")
	f.AOFFailed = f.AOF && info["aof_last_write_status"] == "err"
	f.SnapshotFailed = info["rdb_last_bgsave_status"] == "err"
	f.Replicas = int(number("connected_slaves"))
	for i := range f.Replicas {
		replica := info[fmt.Sprintf("slave%d", i)]
		if strings.Contains(replica, "state=online") {
			f.ReplicasOnline++
		}
		field := func(name string) string {
			_, rest, _ := strings.Cut(","+replica, ","+name+"=")
			value, _, _ := strings.Cut(rest, ",")
			return value
		}
		if addr := net.JoinHostPort(field("ip"), field("port")); failsOver && isStranger(ctx, c.Options(), addr) {
			f.Strangers = append(f.Strangers, addr)
		}
	}
	return nil
}

// isStranger reports whether a server refuses the user of another. Users are not
// replicated.
func isStranger(ctx context.Context, known *redis.Options, addr string) bool {
	c := redis.NewClient(&redis.Options{
		Addr: addr, Username: known.Username, Password: known.Password, TLSConfig: known.TLSConfig,
		DialTimeout: known.DialTimeout, ReadTimeout: known.ReadTimeout, WriteTimeout: known.WriteTimeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, PipelinePoolSize: -1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer c.Close()
	err := c.Do(ctx, "ROLE").Err()
	kind, _ := refusalOf(err)
	return redis.IsAuthError(err) || kind == commandRefused
}

// readConfig reads what INFO lacks. Many managed Redis services do not permit it, and
// refuse it in different ways.
func (f *NodeFacts) readConfig(ctx context.Context, c *redis.Client) error {
	names := []any{"appendfsync", "save", "min-replicas-to-write", "maxmemory-policy"}
	config, err := repeat(ctx, func() (map[string]string, error) {
		cmd := redis.NewMapStringStringCmd(ctx, append([]any{"CONFIG", "GET"}, names...)...)
		_ = c.Process(ctx, cmd)
		return cmd.Result()
	})
	if err != nil && isConnectionError(err) {
		return err
	}
	if err != nil || len(config) < len(names) {
		f.Unreadable = append(f.Unreadable, "config|get")
		return nil
	}
	f.Fsync, f.Snapshots = config["appendfsync"], config["save"]
	f.Eviction = cmp.Or(f.Eviction, config["maxmemory-policy"])
	f.MinReplicas, _ = strconv.Atoi(config["min-replicas-to-write"])
	return nil
}

// clockSamples is how often the time is read: a round trip that happened to take long says
// nothing about the distance.
const clockSamples = 3

func (f *NodeFacts) readClock(ctx context.Context, c *redis.Client) error {
	for n := range clockSamples {
		var before time.Time
		var took time.Duration
		now, err := query(ctx, f, "time", func() (time.Time, error) {
			before = time.Now()
			now, err := c.Time(ctx).Result()
			took = time.Since(before)
			return now, err
		})
		if err != nil || now.IsZero() {
			return err
		}
		if half := took / 2; n == 0 || half < f.ClockError {
			f.ClockOffset, f.ClockError = now.Sub(before.Add(half)), half
		}
	}
	return nil
}
