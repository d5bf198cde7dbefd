package doctor

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"authsvc/internal/redisconn"
)

// The limits beyond which a finding is made.
const (
	oldestMajor   = 7                      // of Redis; the script of a refresh needs it
	fullPercent   = 90                     // of maxmemory, or of the machine
	clockLimit    = time.Second            // between Redis and this machine
	clocksLimit   = 100 * time.Millisecond // between two primaries
	longestGrant  = 30 * 24 * time.Hour    // kept for ten minutes more
	expiryOfStray = longestGrant + 10*time.Minute
)

// Redis returns the findings about the primaries of a store, in their order.
func Redis(nodes []redisconn.NodeFacts, opts RedisOptions) []Finding {
	var found []Finding
	for i := range nodes {
		n := node{&nodes[i], opts}
		for _, check := range n.checks() {
			f := check()
			if f.Check != "" {
				f.Subject = n.Addr
				found = append(found, f)
			}
		}
	}
	return append(found, clocks(nodes)...)
}

// node is a primary that is checked. Its checks return a Finding without a subject, or
// an empty one if nothing is wrong.
type node struct {
	*redisconn.NodeFacts
	opts RedisOptions
}

func (n node) checks() []func() Finding {
	if !n.Knows("info") {
		return []func() Finding{n.readable, n.distance, n.clock, n.expiry}
	}
	return []func() Finding{
		n.readable, n.version, n.topology, n.distance, n.eviction, n.memory, n.persistence, n.disk, n.loading,
		n.replicas, n.minReplicas, n.clock, n.expiry,
	}
}

// unknown lists what can't be known if a command is not permitted.
var unknown = []struct{ command, what string }{
	{"info", "the version, the memory, the persistence and the replicas"},
	{"config|get", "appendfsync, save and min-replicas-to-write"},
	{"time", "the clock and the distance"},
	{"scan", "keys without an expiry"},
	{"pttl", "keys without an expiry"},
}

func (n node) readable() Finding {
	if len(n.Unreadable) == 0 {
		return Finding{}
	}
	var what []string
	args := []string{"ACL", "SETUSER", n.User}
	for _, u := range unknown {
		if !n.Knows(u.command) {
			what, args = append(what, u.what), append(args, "+"+u.command)
		}
	}
	f := Finding{
		Check: RedisReadable, Severity: Note,
		What: fmt.Sprintf("The user %s may not run %s here.", n.User, strings.Join(n.Unreadable, ", ")),
		Why:  "Not checked: " + strings.Join(what, "; ") + ".",
		Fix:  n.cli(args...) + "  # or check it where this Redis is managed",
	}
	if !n.Knows("info") {
		f.Severity = Warning
	}
	return f
}

func (n node) version() Finding {
	digits, _, _ := strings.Cut(n.Version, ".")
	if major, err := strconv.Atoi(digits); err == nil && major >= oldestMajor {
		return Finding{}
	}
	return Finding{
		Check: RedisVersion, Severity: Error,
		What: fmt.Sprintf("It is Redis %s.", cmp.Or(n.Version, "of an unknown version")),
		Why:  "The script of a refresh needs Redis 7.0: on an older one, every refresh and every revocation of an access token fails.",
		Fix:  "Upgrade it to Redis 7.0 or later: first its replicas, then the primary.",
	}
}

func (n node) topology() Finding {
	if !n.Cluster || n.opts.Cluster {
		return Finding{}
	}
	return Finding{
		Check: RedisTopology, Severity: Error,
		What: "It is a node of a Cluster, but --store treats it as a single Redis.",
		Why:  "It has only some of the keys, and redirects callers for the others: most requests are answered with APIG.0613.",
		Fix:  "Write --store as redis+cluster://, with the same host and port, and optionally two or three other nodes.",
	}
}

func (n node) distance() Finding {
	away := n.RoundTrip()
	if n.opts.Timeout == 0 || away <= redisconn.Reach(n.opts.Timeout) {
		return Finding{}
	}
	rounded := (away + time.Millisecond - 1).Truncate(time.Millisecond) // up: the timeout must suffice
	f := Finding{
		Check: RedisDistance, Severity: Warning,
		What: fmt.Sprintf("A round trip takes %s, with a --store-timeout of %s.", rounded, n.opts.Timeout),
		Why:  fmt.Sprintf("A request can take ten round trips, such as the first over a new connection; what is not answered in time gets APIG.0613. This timeout is enough for a Redis %s away.", redisconn.Reach(n.opts.Timeout)),
		Fix:  fmt.Sprintf("Set --store-timeout to %s or more, or use a Redis that is nearer.", redisconn.TimeoutFor(rounded)),
	}
	if most := redisconn.LongestRead(n.opts.Timeout); away > most {
		f.Severity = Error
		f.Why = fmt.Sprintf("No single answer is waited for longer than %s: every request that needs it gets APIG.0613. This timeout is enough for a Redis %s away.", most, redisconn.Reach(n.opts.Timeout))
	}
	return f
}

func (n node) eviction() Finding {
	if n.Eviction == "noeviction" {
		return Finding{}
	}
	f := Finding{
		Check: RedisEviction, Severity: Error,
		What: fmt.Sprintf("maxmemory-policy is %s.", cmp.Or(n.Eviction, "not known")),
		Why:  "When memory is full, Redis silently drops grants that are in use: their tokens are refused, and nothing says why.",
		Fix:  n.configSet("maxmemory-policy", "noeviction"),
	}
	if n.opts.AllowEviction || n.Eviction == "" {
		f.Severity = Warning
	} else {
		f.Fix += "; or accept it with --allow-eviction"
	}
	return f
}

func (n node) memory() Finding {
	limit, of := n.MaxMemory, "maxmemory"
	unlimited := limit == 0 || n.SystemMemory > 0 && limit >= n.SystemMemory
	if unlimited {
		limit, of = n.SystemMemory, "the memory of its machine"
	}
	switch {
	case limit > 0 && n.Memory > limit/100*fullPercent:
		f := Finding{
			Check: RedisMemory, Severity: Warning,
			What: fmt.Sprintf("%d%% of %s (%s) are in use.", n.Memory*100/limit, of, mb(limit)),
			Why:  "When it is full, no new token can be issued: APIG.0613. Refresh and revocation still work.",
			Fix:  n.configSet("maxmemory", mb(2*limit)) + ", if the machine has that much to spare",
		}
		if unlimited {
			f.Why = "When it is full, the system kills Redis, or swaps, and no call is answered in time."
			f.Fix = moreMemory
		}
		return f
	case unlimited:
		f := Finding{
			Check: RedisMemory, Severity: Note,
			What: "maxmemory does not keep it below its machine's memory.",
			Why:  "When that runs out, the system kills Redis. At maxmemory, only new tokens are refused: refresh and revocation still work.",
			Fix:  n.configSet("maxmemory", mb(max(n.SystemMemory/4*3, 1<<30))),
		}
		if n.Memory > max(n.SystemMemory/4*3, 1<<30)/100*fullPercent {
			f.Fix = moreMemory
		}
		return f
	}
	return Finding{}
}

const moreMemory = "Give its machine more memory, and then limit Redis to less than that: maxmemory in redis.conf."

// mb returns a size in the notation of redis.conf.
func mb(size int64) string { return fmt.Sprintf("%dmb", max(1, size>>20)) }

func (n node) persistence() Finding {
	f := Finding{
		Check: RedisPersistence, Severity: Warning,
		Fix: n.configSet("appendonly", "yes", "appendfsync", "always"),
	}
	const lost = ": new grants are gone, and revoked tokens are valid again."
	switch {
	case !n.AOF && n.Knows("config|get") && n.Snapshots == "":
		f.What = "It stores nothing on disk."
		f.Why = "When it restarts, every grant is lost: all tokens are refused, and each app needs new ones."
	case !n.AOF:
		f.What = "It stores only snapshots, if anything (appendonly no)."
		f.Why = "A crash loses all that was written since the last one" + lost
	case n.Fsync == "everysec":
		f.What = "It writes to disk once a second (appendfsync everysec)."
		f.Why = "A power failure loses acknowledged writes (30% of them when one was simulated, none with always)" + lost
	case n.Fsync == "no":
		f.What = "It leaves syncing to disk to the system (appendfsync no)."
		f.Why = "A power failure loses half a minute of acknowledged writes" + lost
	default:
		return Finding{}
	}
	return f
}

func (n node) disk() Finding {
	f := Finding{Check: RedisDisk, Severity: Warning}
	switch {
	case n.AOFFailed:
		f.What = "The last write to the append-only file failed."
		f.Why = "Redis refuses every write until one succeeds: no token can be issued, refreshed or revoked."
		f.Fix = n.cli("CONFIG", "GET", "dir") + "  # free some space there; its log has the cause"
	case n.SnapshotFailed && (n.Snapshots != "" || !n.Knows("config|get")):
		f.What = "The last snapshot failed."
		f.Why = "By default, Redis refuses every write until one succeeds: no token can be issued, refreshed or revoked."
		f.Fix = n.cli("CONFIG", "GET", "dir") + "  # free some space there; its log has the cause. Then: " + n.cli("BGSAVE")
	default:
		return Finding{}
	}
	return f
}

func (n node) loading() Finding {
	if !n.Loading {
		return Finding{}
	}
	return Finding{
		Check: RedisLoading, Severity: Warning,
		What: "It is still loading its data from disk.",
		Why:  "Until it is done, calls that need it are answered with APIG.0613.",
		Fix:  n.cli("INFO", "persistence") + "  # wait: loading_eta_seconds says how long",
	}
}

func (n node) replicas() Finding {
	switch {
	case n.Replicas == 0:
		f := Finding{
			Check: RedisReplicas, Severity: Note, What: "It has no replica.",
			Why: "If its machine is lost, so are all grants: all tokens are refused, and each app needs new ones.",
		}
		f.Fix = "Start a redis-server on another machine, with replicaof HOST PORT, and masteruser and masterauth if this one requires them."
		if n.Cluster {
			f.Fix = shell("redis-cli", "--cluster", "add-node", "REPLICA:6379", n.Addr, "--cluster-slave") + "  # REPLICA: another machine"
		}
		return f
	case len(n.Strangers) > 0:
		return Finding{
			Check: RedisReplicas, Severity: Warning,
			What: fmt.Sprintf("The user %s is missing, or may do less, on %s.", n.User, strings.Join(n.Strangers, " and ")),
			Why:  "Users are not replicated. After a failover to such a replica, every call is answered with APIG.0613.",
			Fix:  "Create the user there, with the same password and permissions: ACL SETUSER, and the same in the ACL file or in redis.conf.",
		}
	case n.ReplicasOnline < n.Replicas:
		return Finding{
			Check: RedisReplicas, Severity: Warning,
			What: fmt.Sprintf("%d of %s are in sync.", n.ReplicasOnline, count(n.Replicas, "replica")),
			Why:  "A replica without all the data is of no use if the primary is lost.",
			Fix:  n.cli("INFO", "replication") + "  # shows which; its log has the cause, unless it is new",
		}
	}
	return Finding{}
}

func (n node) minReplicas() Finding {
	switch {
	case !n.Knows("config|get"):
		return Finding{}
	case n.MinReplicas > n.ReplicasOnline:
		return Finding{
			Check: RedisMinReplicas, Severity: Warning,
			What: fmt.Sprintf("min-replicas-to-write is %d, with %s in sync.", n.MinReplicas, count(n.ReplicasOnline, "replica")),
			Why:  "It refuses every write: no token can be issued, refreshed or revoked.",
			Fix:  n.configSet("min-replicas-to-write", strconv.Itoa(n.ReplicasOnline)) + ", unless the replicas can be brought back",
		}
	case n.MinReplicas > 0 && n.MinReplicas >= n.Replicas:
		return Finding{
			Check: RedisMinReplicas, Severity: Warning,
			What: fmt.Sprintf("min-replicas-to-write is %d, with %s in all.", n.MinReplicas, count(n.Replicas, "replica")),
			Why:  "As soon as one replica is missing, as after any failover, it refuses every write: no token can be issued, refreshed or revoked.",
			Fix:  "Add a replica, or: " + n.configSet("min-replicas-to-write", strconv.Itoa(n.MinReplicas-1)),
		}
	case n.MinReplicas == 0 && n.Replicas > 1:
		return Finding{
			Check: RedisMinReplicas, Severity: Warning,
			What: "min-replicas-to-write is 0.",
			Why: "A primary that is cut off from its replicas keeps acknowledging writes, and a failover discards them: " +
				"new grants are gone, and revoked tokens are valid again.",
			Fix: n.configSet("min-replicas-to-write", "1"),
		}
	}
	return Finding{}
}

const setClock = "timedatectl set-ntp true  # on both machines"

func (n node) clock() Finding {
	if n.ClockOffset.Abs()-n.ClockError <= clockLimit {
		return Finding{}
	}
	where := "ahead of"
	if n.ClockOffset < 0 {
		where = "behind"
	}
	return Finding{
		Check: RedisClock, Severity: Warning,
		What: fmt.Sprintf("Its clock is %s %s this machine's.", n.ClockOffset.Abs().Round(100*time.Millisecond), where),
		Why:  "The service uses Redis's clock, so tokens are right if that one is. But the two logs do not line up, and anything that uses the other clock sees tokens expire at a different time.",
		Fix:  setClock,
	}
}

// clocks returns the finding that the clocks of two primaries differ, if they do.
func clocks(nodes []redisconn.NodeFacts) []Finding {
	var worst time.Duration
	var a, b string
	for i := range nodes {
		for j := range i {
			m, n := &nodes[i], &nodes[j]
			if !m.Knows("time") || !n.Knows("time") {
				continue
			}
			if d := (m.ClockOffset - n.ClockOffset).Abs() - m.ClockError - n.ClockError; d > worst {
				worst, a, b = d, n.Addr, m.Addr
			}
		}
	}
	if worst <= clocksLimit {
		return nil
	}
	return []Finding{{
		Check: RedisClock, Subject: "primaries", Severity: Warning,
		What: fmt.Sprintf("The clocks of %s and %s differ by %s or more.", a, b, worst.Round(time.Millisecond)),
		Why:  "A change of a grant has a deadline, by the clock of the primary that holds it. If that is wrong, a change that was given up can still be made, or one in time is refused; and tokens expire earlier or later than they say.",
		Fix:  setClock,
	}}
}

func (n node) expiry() Finding {
	if n.Endless == 0 {
		return Finding{}
	}
	scan := n.cli("--scan", "--pattern", n.Keys)
	expire := n.cli("EXPIRE", "KEY", strconv.Itoa(int(expiryOfStray.Seconds())), "NX")
	return Finding{
		Check: RedisExpiry, Severity: Warning,
		What: fmt.Sprintf("%d of %s in a sample have no expiry.", n.Endless, count(n.Sampled, "key")+" "+n.Keys),
		Why:  "The service writes every grant with one, so something else wrote these keys or removed it. They take up memory forever.",
		Fix:  scan + " | xargs -I KEY " + expire + "  # changes no key that has an expiry",
	}
}
