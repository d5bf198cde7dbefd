package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// NodeFacts is what one primary says of itself, and what its answers show. What
// to think of it is package checkup's.
type NodeFacts struct {
	Addr string // host:port
	User string // whom the service is to this primary, as its ACL has it
	DB   int    // the database of the service's keys
	Keys string // their pattern

	// Unreadable are the commands, as the ACL names them, that the primary did
	// not let this user run. What they would have told is zero here: info is
	// the next group, config|get, time, and scan and pttl the ones after it.
	Unreadable []string

	Version        string
	Cluster        bool   // it is a node of a Redis Cluster
	Loading        bool   // it is still reading its data from disk
	Memory         int64  // bytes in use
	MaxMemory      int64  // bytes; 0: no limit
	SystemMemory   int64  // bytes of the machine; 0: it does not say
	Eviction       string // maxmemory-policy
	AOF            bool   // appendonly
	AOFFailed      bool   // the last write to the append-only file
	SnapshotFailed bool   // the last snapshot
	Replicas       int    // connected
	ReplicasOnline int    // of these, the ones that have all data and follow
	// Strangers are the replicas (host:port) that do not let the user in: after a
	// failover to one nothing works. Those that are out of reach are not among them,
	// and none is asked of a single Redis, whose replicas are not ours to talk to.
	Strangers []string

	Fsync       string // appendfsync
	Snapshots   string // save: seconds and changes; empty for none
	MinReplicas int    // min-replicas-to-write

	// ClockOffset is how far its clock is ahead of this process's, give or take
	// ClockError: half of the round trip.
	ClockOffset, ClockError time.Duration

	// Sampled is how many of the service's keys were looked at, and Endless how
	// many of them have no expiry.
	Sampled, Endless int
}

// Knows tells whether the primary let this user run a command, such as config|get.
func (f *NodeFacts) Knows(command string) bool { return !slices.Contains(f.Unreadable, command) }

// Facts asks each primary about itself, and takes a sample of the service's keys
// that goes on where the one before ended, so that calls, repeated, see all of
// them. A call costs a primary a few milliseconds at most.
//
// The facts are in the order of the addresses. A primary that does not answer
// makes it fail with token.ErrUnavailable; the facts of the others are returned
// even so. A command that is not permitted is a fact.
func (r *Redis) Facts(ctx context.Context) ([]NodeFacts, error) {
	var mu sync.Mutex
	var all []NodeFacts
	err := r.eachPrimary(ctx, func(ctx context.Context, addr string, c *redis.Client) error {
		f := NodeFacts{Addr: addr, User: userOf(c), DB: c.Options().DB, Keys: r.prefix + "*"}
		if err := f.read(ctx, c, &r.samples, r.sentinel || r.cluster != nil); err != nil {
			return unavailable(nil, fmt.Errorf("asking Redis at %s about itself: %w", addr, err))
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, f)
		return nil
	})
	slices.SortFunc(all, func(a, b NodeFacts) int { return cmp.Compare(a.Addr, b.Addr) })
	r.samples.forget(all)
	return all, err
}

func userOf(c *redis.Client) string { return cmp.Or(c.Options().Username, "default") }

// again runs what is safe to repeat, and runs it again where the connection failed.
func again[T any](ctx context.Context, run func() (T, error)) (T, error) {
	for n := 0; ; n++ {
		value, err := run()
		if err == nil || n == repeats || !isConnectionError(err) || !pause(ctx) {
			return value, err
		}
	}
}

// ask is again, and notes where the command is answered with an error, because it
// is not permitted, or not there, each in its own words: then the value is zero. A
// Redis that does not serve yet is no such case.
func ask[T any](ctx context.Context, f *NodeFacts, command string, run func() (T, error)) (T, error) {
	value, err := again(ctx, run)
	if isRedirection(err) { // a key that is on its way to another node
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

// isToAll tells an answer to all commands from one to a command.
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
	// Without naming sections: before 7.0 only one could be named, and that it is
	// older must be found out.
	text, err := ask(ctx, f, "info", func() (string, error) { return c.Info(ctx).Result() })
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

// isStranger tells whether a server refuses who is known to another. Users are not
// replicated.
func isStranger(ctx context.Context, known *redis.Options, addr string) bool {
	c := redis.NewClient(&redis.Options{
		Addr: addr, Username: known.Username, Password: known.Password, TLSConfig: known.TLSConfig,
		DialTimeout: maxIO, ReadTimeout: maxIO, WriteTimeout: maxIO, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, PipelinePoolSize: -1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer c.Close()
	err := c.Do(ctx, "ROLE").Err()
	kind, _ := refusalOf(err)
	return redis.IsAuthError(err) || kind == commandRefused
}

// readConfig reads what INFO does not have. Many a Redis that is run by others
// does not let it be read, and says so in its own way.
func (f *NodeFacts) readConfig(ctx context.Context, c *redis.Client) error {
	names := []any{"appendfsync", "save", "min-replicas-to-write", "maxmemory-policy"}
	config, err := again(ctx, func() (map[string]string, error) {
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

func (f *NodeFacts) readClock(ctx context.Context, c *redis.Client) error {
	var before time.Time
	var half time.Duration
	now, err := ask(ctx, f, "time", func() (time.Time, error) {
		before = time.Now()
		now, err := c.Time(ctx).Result()
		half = time.Since(before) / 2
		return now, err
	})
	if err != nil || now.IsZero() {
		return err
	}
	f.ClockOffset, f.ClockError = now.Sub(before.Add(half)), half
	return nil
}

// A sample is at most so many calls of SCAN, which looks at so many keys each,
// whoever they belong to.
const (
	sampleScans = 5
	scanCount   = 200
)

// sampler remembers how far the keys of each primary have been looked at. It is
// safe for concurrent use.
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
		keys, err := ask(ctx, f, "scan", func() (keys []string, err error) {
			keys, cursor, err = c.Scan(ctx, cursor, f.Keys, scanCount).Result()
			return keys, err
		})
		if err == nil && len(keys) > 0 {
			err = f.countEndless(ctx, c, keys)
		}
		if redis.HasErrorPrefix(err, "LOADING") {
			f.Loading = true // INFO may have come just before
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
	left, err := ask(ctx, f, "pttl", func() ([]int64, error) {
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

// forget forgets the primaries that are none any more.
func (s *sampler) forget(but []NodeFacts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr := range s.cursors {
		if !slices.ContainsFunc(but, func(f NodeFacts) bool { return f.Addr == addr }) {
			delete(s.cursors, addr)
		}
	}
}

// PermissionError is everything that primaries do not let the service do, though
// it can't work without.
type PermissionError struct{ Nodes []Refusal }

// Refusal is what one primary does not let the service do.
type Refusal struct {
	Addr     string   // host:port
	User     string   // as the ACL has it
	Commands []string // not permitted, as the ACL names them: eval, client|setname
	Keys     string   // the pattern of the service's keys, where these are not permitted; else empty
	Missing  []string // commands that the server does not have, or has under another name
}

// Grant is the command that permits the user what it lacks; empty where the
// server lacks it.
func (r Refusal) Grant() string {
	var rules []string
	for _, c := range r.Commands {
		rules = append(rules, "+"+c)
	}
	if r.Keys != "" {
		rules = append(rules, "~"+r.Keys)
	}
	if len(rules) == 0 {
		return ""
	}
	return "ACL SETUSER " + r.User + " " + strings.Join(rules, " ")
}

// What says it in words.
func (r Refusal) What() string {
	var parts []string
	if len(r.Commands) > 0 {
		parts = append(parts, fmt.Sprintf("the user %s may not run %s", r.User, strings.Join(r.Commands, ", ")))
	}
	if r.Keys != "" {
		parts = append(parts, fmt.Sprintf("the user %s may not read and write the keys %s", r.User, r.Keys))
	}
	if len(r.Missing) > 0 {
		parts = append(parts, "the server has no command "+strings.Join(r.Missing, ", "))
	}
	return strings.Join(parts, "; ")
}

// Error names each primary, what it refuses, and the command that grants it.
func (e *PermissionError) Error() string {
	var all []string
	for _, n := range e.Nodes {
		text := "Redis at " + n.Addr + ": " + n.What()
		if grant := n.Grant(); grant != "" {
			text += "; there, run: " + grant
		}
		all = append(all, text)
	}
	return strings.Join(all, "\n")
}

// Probe runs each command that the service needs on every primary, on a key that
// it makes and deletes, so that a missing permission is found before a request
// finds it. It fails with a *PermissionError that holds all that is refused, and
// with token.ErrUnavailable where a primary does not answer. Whether a command
// succeeds does not matter: a Redis that is full, or still reading its data,
// answers with another error than for what it does not permit.
func (r *Redis) Probe(ctx context.Context) error {
	var mu sync.Mutex
	var refused []Refusal
	err := r.eachPrimary(ctx, func(ctx context.Context, addr string, c *redis.Client) error {
		n := Refusal{Addr: addr, User: userOf(c)}
		if err := n.probe(ctx, c, r.prefix, r.cluster != nil); err != nil {
			return unavailable(nil, fmt.Errorf("asking Redis at %s what it permits: %w", addr, err))
		}
		mu.Lock()
		defer mu.Unlock()
		if n.What() != "" {
			refused = append(refused, n)
		}
		return nil
	})
	if len(refused) == 0 {
		return err
	}
	slices.SortFunc(refused, func(a, b Refusal) int { return cmp.Compare(a.Addr, b.Addr) })
	return errors.Join(&PermissionError{refused}, err)
}

// probeKey is a key that nobody has. In a Redis Cluster it need not be one of the
// node that is asked: Redis looks at the permissions before it looks for the slot.
func probeKey(prefix string) string { return prefix + "probe:" + rand.Text() }

// probe runs the commands one by one: go-redis leaves what was wrong with a new
// connection off the commands of a pipeline.
func (r *Refusal) probe(ctx context.Context, c *redis.Client, prefix string, cluster bool) error {
	key, soon := probeKey(prefix), time.Now().Add(time.Minute)
	swap := []any{1, key, "probe", "probed", millis(soon), soon.UnixMicro()}
	commands := [][]any{
		{"ROLE"},
		{"TIME"},
		{"SET", key, "probe", "NX", "PXAT", millis(soon)},
		{"GET", key},
		append([]any{"EVAL", swapSource}, swap...),
		append([]any{"EVALSHA", swapSHA}, swap...),
		{"DEL", key},
	}
	if cluster {
		commands[0] = []any{"CLUSTER", "SLOTS"}
		commands = append(commands, []any{"ASKING"})
	}
	for _, args := range commands {
		_, err := again(ctx, func() (any, error) { return c.Do(ctx, args...).Result() })
		if err != nil && isConnectionError(err) {
			return err
		}
		if args[0] == "EVAL" && redis.HasErrorPrefix(err, "ERR") {
			r.Missing = addOnce(r.Missing, "eval for a script with flags")
		}
		switch kind, command := refusalOf(err); kind {
		case commandRefused:
			r.Commands = addOnce(r.Commands, cmp.Or(command, strings.ToLower(args[0].(string))))
		case commandMissing:
			if command = cmp.Or(command, strings.ToLower(args[0].(string))); command != "role" { // INFO does instead
				r.Missing = addOnce(r.Missing, command)
			}
		case keysRefused:
			r.Keys = prefix + "*"
		}
	}
	return nil
}

func addOnce(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// refusalKind is what an answer of Redis says about permissions.
type refusalKind int

const (
	notRefused     refusalKind = iota
	commandRefused             // by the ACL
	commandMissing             // renamed, switched off, or of another version
	keysRefused                // by the ACL
)

var (
	refusedCommand = regexp.MustCompile(`the '([^']+)' command`)
	missingCommand = regexp.MustCompile("unknown command ['`]([^'`]+)['`]")
)

// refusalOf tells whether an error is a refusal, and names the command if Redis
// does: it may be one that set up the connection.
func refusalOf(err error) (kind refusalKind, command string) {
	switch {
	case redis.HasErrorPrefix(err, "unknown command"):
		if m := missingCommand.FindStringSubmatch(err.Error()); m != nil {
			return commandMissing, strings.ToLower(m[1])
		}
		return commandMissing, ""
	case !redis.HasErrorPrefix(err, "NOPERM"):
		return notRefused, ""
	}
	if m := refusedCommand.FindStringSubmatch(err.Error()); m != nil {
		return commandRefused, m[1]
	}
	if strings.Contains(err.Error(), " key") {
		return keysRefused, ""
	}
	return commandRefused, ""
}
