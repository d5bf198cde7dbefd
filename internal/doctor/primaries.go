package doctor

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"authsvc/internal/redisconn"
)

// The limits of what is fine.
const (
	oldestMajor   = 7                      // of Redis; the script of a refresh needs it
	fullPercent   = 90                     // of maxmemory, or of the machine
	clockLimit    = time.Second            // between Redis and this machine
	clocksLimit   = 100 * time.Millisecond // between two primaries
	longestGrant  = 30 * 24 * time.Hour    // and ten minutes
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

// node is a primary that is checked. A check of it returns a Finding without a
// subject, and an empty one where nothing is wrong.
type node struct {
	*redisconn.NodeFacts
	opts RedisOptions
}

func (n node) checks() []func() Finding {
	if !n.Knows("info") {
		return []func() Finding{n.readable, n.clock, n.expiry}
	}
	return []func() Finding{
		n.readable, n.version, n.topology, n.eviction, n.memory, n.persistence, n.disk, n.loading,
		n.replicas, n.minReplicas, n.clock, n.expiry,
	}
}

// unknown holds what is not known without a command.
var unknown = []struct{ command, what string }{
	{"info", "the version, the memory, the persistence and the replicas"},
	{"config|get", "appendfsync, save and min-replicas-to-write"},
	{"time", "the clock"},
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
		Fix:  n.cli(args...) + "  # or look at it where this Redis is managed",
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
		Why:  "The script of a refresh needs Redis 7.0: before, every refresh and every revocation of an access token fails.",
		Fix:  "Upgrade it to Redis 7.0 or later: first its replicas, then the primary.",
	}
}

func (n node) topology() Finding {
	if !n.Cluster || n.opts.Cluster {
		return Finding{}
	}
	return Finding{
		Check: RedisTopology, Severity: Error,
		What: "It is a node of a Cluster, and --store takes it for all there is.",
		Why:  "It has only some of the keys, and sends callers elsewhere for the others: most requests are answered with APIG.0613.",
		Fix:  "Write --store as redis+cluster://, with the same host and port, and two or three other nodes if you like.",
	}
}

func (n node) eviction() Finding {
	if n.Eviction == "noeviction" {
		return Finding{}
	}
	f := Finding{
		Check: RedisEviction, Severity: Error,
		What: fmt.Sprintf("maxmemory-policy is %s.", cmp.Or(n.Eviction, "not known")),
		Why:  "When memory is full, Redis drops living grants without an error: their tokens are refused, and nobody is told why.",
		Fix:  n.configSet("maxmemory-policy", "noeviction"),
	}
	if n.opts.AllowEviction || n.Eviction == "" {
		f.Severity = Warning
	} else {
		f.Fix += "; or insist, with --allow-eviction"
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
			f.Why = "When it is full, the system ends Redis, or swaps, and no call is answered in time."
			f.Fix = moreMemory
		}
		return f
	case unlimited:
		f := Finding{
			Check: RedisMemory, Severity: Note,
			What: "maxmemory does not keep it below the memory of its machine.",
			Why:  "When that runs out, the system ends Redis. At maxmemory it only refuses new tokens: refresh and revocation still work.",
			Fix:  n.configSet("maxmemory", mb(max(n.SystemMemory/4*3, 1<<30))),
		}
		if n.Memory > max(n.SystemMemory/4*3, 1<<30)/100*fullPercent {
			f.Fix = moreMemory
		}
		return f
	}
	return Finding{}
}

const moreMemory = "Give its machine more memory, and then Redis a limit below it: maxmemory in redis.conf."

// mb returns a size as redis.conf takes it.
func mb(size int64) string { return fmt.Sprintf("%dmb", max(1, size>>20)) }

func (n node) persistence() Finding {
	f := Finding{
		Check: RedisPersistence, Severity: Warning,
		Fix: n.configSet("appendonly", "yes", "appendfsync", "always"),
	}
	const lost = ": new grants are gone, and tokens that were revoked are good again."
	switch {
	case !n.AOF && n.Knows("config|get") && n.Snapshots == "":
		f.What = "It keeps nothing on disk."
		f.Why = "When it restarts, every grant is gone: all tokens are refused, and each app needs new ones."
	case !n.AOF:
		f.What = "It keeps snapshots at most (appendonly no)."
		f.Why = "A crash takes all that was written since the last one" + lost
	case n.Fsync == "everysec":
		f.What = "It writes to disk once a second (appendfsync everysec)."
		f.Why = "A power loss takes writes that were acknowledged, 30% of them when one was simulated, and none with always" + lost
	case n.Fsync == "no":
		f.What = "It writes to disk when the system likes (appendfsync no)."
		f.Why = "A power loss takes the writes of half a minute, though they were acknowledged" + lost
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
		f.Fix = n.cli("CONFIG", "GET", "dir") + "  # make room there; its log has the cause"
	case n.SnapshotFailed && (n.Snapshots != "" || !n.Knows("config|get")):
		f.What = "The last snapshot failed."
		f.Why = "Unless it is told otherwise, Redis refuses every write until one succeeds: no token can be issued, refreshed or revoked."
		f.Fix = n.cli("CONFIG", "GET", "dir") + "  # make room there; its log has the cause. Then: " + n.cli("BGSAVE")
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
		What: "It is still reading its data from disk.",
		Why:  "Until it is done, calls that need it are answered with APIG.0613.",
		Fix:  n.cli("INFO", "persistence") + "  # wait: loading_eta_seconds says how long",
	}
}

func (n node) replicas() Finding {
	switch {
	case n.Replicas == 0:
		f := Finding{
			Check: RedisReplicas, Severity: Note, What: "It has no replica.",
			Why: "With its machine all grants are lost: all tokens are refused, and each app needs new ones.",
		}
		f.Fix = "Start a redis-server on another machine, with replicaof HOST PORT, and masteruser and masterauth where this one wants them."
		if n.Cluster {
			f.Fix = shell("redis-cli", "--cluster", "add-node", "REPLICA:6379", n.Addr, "--cluster-slave") + "  # REPLICA: another machine"
		}
		return f
	case len(n.Strangers) > 0:
		return Finding{
			Check: RedisReplicas, Severity: Warning,
			What: fmt.Sprintf("The user %s is not known, or may do less, at %s.", n.User, strings.Join(n.Strangers, " and ")),
			Why:  "Users are not replicated. After a failover to such a replica every call is answered with APIG.0613.",
			Fix:  "Make the user there, too, with the same password and rights: ACL SETUSER, and the same in the ACL file or in redis.conf.",
		}
	case n.ReplicasOnline < n.Replicas:
		return Finding{
			Check: RedisReplicas, Severity: Warning,
			What: fmt.Sprintf("%d of %s follow it.", n.ReplicasOnline, count(n.Replicas, "replica")),
			Why:  "One that does not have all data is of no use when the primary is lost.",
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
			What: fmt.Sprintf("min-replicas-to-write is %d, and %s follow it.", n.MinReplicas, count(n.ReplicasOnline, "replica")),
			Why:  "It refuses every write: no token can be issued, refreshed or revoked.",
			Fix:  n.configSet("min-replicas-to-write", strconv.Itoa(n.ReplicasOnline)) + ", unless the replicas can be brought back",
		}
	case n.MinReplicas > 0 && n.MinReplicas >= n.Replicas:
		return Finding{
			Check: RedisMinReplicas, Severity: Warning,
			What: fmt.Sprintf("min-replicas-to-write is %d, of %s.", n.MinReplicas, count(n.Replicas, "replica")),
			Why:  "As soon as one is missing, as after any failover, it refuses every write: no token can be issued, refreshed or revoked.",
			Fix:  "Add a replica, or: " + n.configSet("min-replicas-to-write", strconv.Itoa(n.MinReplicas-1)),
		}
	case n.MinReplicas == 0 && n.Replicas > 1:
		return Finding{
			Check: RedisMinReplicas, Severity: Warning,
			What: "min-replicas-to-write is 0.",
			Why: "A primary that is cut off from its replicas goes on acknowledging writes, and a failover throws them away: " +
				"new grants are gone, and tokens that were revoked are good again.",
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
		Why:  "The service goes by Redis's, so tokens are right as long as that is. But the logs of the two do not fit, and who goes by the other clock sees tokens expire at another time.",
		Fix:  setClock,
	}
}

// clocks compares the primaries with each other.
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
		Why:  "A change of a grant is only good until a time, by the clock of the primary that has it: where that is wrong, one that was given up can land late, or one in time is refused. And a token expires sooner or later than it says.",
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
		What: fmt.Sprintf("%d of %s that were looked at have no expiry.", n.Endless, count(n.Sampled, "key")+" "+n.Keys),
		Why:  "The service writes none without, so somebody else did, or took it away. They fill the memory for ever.",
		Fix:  scan + " | xargs -I KEY " + expire + "  # changes none that has an expiry",
	}
}
