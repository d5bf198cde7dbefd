package doctor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"authsvc/internal/redisconn"
	"authsvc/internal/redistest"
	"authsvc/internal/store"
)

const at = "10.0.0.1:6379"

// healthy is a primary that nothing is wrong with.
func healthy() redisconn.NodeFacts {
	return redisconn.NodeFacts{
		Addr: at, User: "app", Keys: "authsvc:[^{]*",
		Version: "7.0.0", Memory: 1000, MaxMemory: 10_000, SystemMemory: 100_000, Eviction: "noeviction",
		AOF: true, Fsync: "always", Replicas: 2, ReplicasOnline: 2, MinReplicas: 1, Sampled: 1000,
	}
}

// another is a second primary, that nothing is wrong with either.
func another(f redisconn.NodeFacts) redisconn.NodeFacts {
	f.Addr = "10.0.0.2:6379"
	return f
}

var redisTests = []struct {
	name string
	is   func(*redisconn.NodeFacts)
	opts RedisOptions
	want []string
	what string // of the first; in it
	fix  string // of the first
}{
	{name: "healthy", is: func(*redisconn.NodeFacts) {}},
	{name: "healthy with insistence", is: func(*redisconn.NodeFacts) {}, opts: RedisOptions{AllowEviction: true, TLS: true}},

	{
		name: "6.2", is: func(f *redisconn.NodeFacts) { f.Version = "6.2.14" }, want: []string{"error redis_version " + at}, what: "Redis 6.2.14",
		fix: "Upgrade it to Redis 7.0 or later: first its replicas, then the primary.",
	},
	{name: "8", is: func(f *redisconn.NodeFacts) { f.Version = "8.0" }},
	{name: "10", is: func(f *redisconn.NodeFacts) { f.Version = "10.1.0" }},
	{name: "no version", is: func(f *redisconn.NodeFacts) { f.Version = "" }, want: []string{"error redis_version " + at}, what: "unknown version"},

	{
		name: "no limit, and most of the machine in use", is: func(f *redisconn.NodeFacts) { f.MaxMemory, f.SystemMemory, f.Memory = 0, 100<<30, 80<<30 },
		want: []string{"note redis_memory " + at}, fix: moreMemory,
	},
	{
		name: "a node of a Cluster", is: func(f *redisconn.NodeFacts) { f.Cluster = true }, want: []string{"error redis_topology " + at},
		what: "node of a Cluster", fix: "Write --store as redis+cluster://, with the same host and port, and optionally two or three other nodes.",
	},
	{name: "a Cluster", is: func(f *redisconn.NodeFacts) { f.Cluster = true }, opts: RedisOptions{Cluster: true}},
	{
		name: "eviction", is: func(f *redisconn.NodeFacts) { f.Eviction = "volatile-ttl" }, want: []string{"error redis_eviction " + at},
		what: "volatile-ttl",
		fix:  "redis-cli -h 10.0.0.1 -p 6379 CONFIG SET maxmemory-policy noeviction  # and in redis.conf: maxmemory-policy noeviction; or accept it with --allow-eviction",
	},
	{
		name: "eviction behind a socket", is: func(f *redisconn.NodeFacts) { f.Eviction, f.Addr = "allkeys-lru", "/run/redis.sock" },
		want: []string{"error redis_eviction /run/redis.sock"},
		fix:  "redis-cli -s /run/redis.sock CONFIG SET maxmemory-policy noeviction  # and in redis.conf: maxmemory-policy noeviction; or accept it with --allow-eviction",
	},
	{
		name: "eviction somewhere", is: func(f *redisconn.NodeFacts) { f.Eviction, f.Addr = "allkeys-lru", "the primary of main" },
		want: []string{"error redis_eviction the primary of main"},
		fix:  "redis-cli -h 'the primary of main' CONFIG SET maxmemory-policy noeviction  # and in redis.conf: maxmemory-policy noeviction; or accept it with --allow-eviction",
	},
	{
		name: "eviction over TLS", is: func(f *redisconn.NodeFacts) { f.Eviction, f.Addr, f.DB = "allkeys-lru", "[::1]:6380", 3 },
		opts: RedisOptions{TLS: true}, want: []string{"error redis_eviction [::1]:6380"},
		fix: "redis-cli -h ::1 -p 6380 --tls -n 3 CONFIG SET maxmemory-policy noeviction  # and in redis.conf: maxmemory-policy noeviction; or accept it with --allow-eviction",
	},
	{
		name: "eviction that is insisted on", is: func(f *redisconn.NodeFacts) { f.Eviction = "allkeys-lru" },
		opts: RedisOptions{AllowEviction: true}, want: []string{"warning redis_eviction " + at},
	},
	{
		name: "eviction, and no CONFIG", is: func(f *redisconn.NodeFacts) { f.Eviction, f.Unreadable = "allkeys-lru", []string{"config|get"} },
		want: []string{"note redis_readable " + at, "error redis_eviction " + at},
	},
	{name: "unknown eviction", is: func(f *redisconn.NodeFacts) { f.Eviction = "" }, want: []string{"warning redis_eviction " + at}, what: "not known"},

	{name: "as far as may be", is: func(f *redisconn.NodeFacts) { f.ClockError = 15 * time.Millisecond }, opts: RedisOptions{Timeout: 300 * time.Millisecond}},
	{
		name: "too far", is: func(f *redisconn.NodeFacts) { f.ClockError = 40 * time.Millisecond }, opts: RedisOptions{Timeout: 300 * time.Millisecond},
		want: []string{"warning redis_distance " + at}, what: "A round trip takes 80ms, with a --store-timeout of 300ms.",
		fix: "Set --store-timeout to 800ms or more, or use a Redis that is nearer.",
	},
	{
		name: "too far by less than a millisecond", is: func(f *redisconn.NodeFacts) { f.ClockError = 5100 * time.Microsecond }, opts: RedisOptions{Timeout: 100 * time.Millisecond},
		want: []string{"warning redis_distance " + at}, fix: "Set --store-timeout to 110ms or more, or use a Redis that is nearer.",
	},
	{
		name: "out of reach", is: func(f *redisconn.NodeFacts) { f.ClockError = 100 * time.Millisecond }, opts: RedisOptions{Timeout: 300 * time.Millisecond},
		want: []string{"error redis_distance " + at}, what: "A round trip takes 200ms", fix: "Set --store-timeout to 2s or more, or use a Redis that is nearer.",
	},
	{name: "a timeout that is not known", is: func(f *redisconn.NodeFacts) { f.ClockError = time.Second }},

	{name: "90%", is: func(f *redisconn.NodeFacts) { f.Memory = 9000 }},
	{
		name: "over 90%", is: func(f *redisconn.NodeFacts) { f.Memory, f.MaxMemory, f.SystemMemory = 91<<20, 100<<20, 1<<30 },
		want: []string{"warning redis_memory " + at}, what: "91% of maxmemory (100mb)",
		fix: "redis-cli -h 10.0.0.1 -p 6379 CONFIG SET maxmemory 200mb  # and in redis.conf: maxmemory 200mb, if the machine has that much to spare",
	},
	{name: "full", is: func(f *redisconn.NodeFacts) { f.Memory = 10_001 }, want: []string{"warning redis_memory " + at}, what: "100%"},
	{
		name: "no maxmemory", is: func(f *redisconn.NodeFacts) { f.MaxMemory, f.SystemMemory = 0, 4<<30 }, want: []string{"note redis_memory " + at},
		fix: "redis-cli -h 10.0.0.1 -p 6379 CONFIG SET maxmemory 3072mb  # and in redis.conf: maxmemory 3072mb",
	},
	{name: "maxmemory over the machine's", is: func(f *redisconn.NodeFacts) { f.MaxMemory = 100_000 }, want: []string{"note redis_memory " + at}},
	{name: "maxmemory under the machine's", is: func(f *redisconn.NodeFacts) { f.MaxMemory = 99_999 }},
	{name: "no maxmemory, 90% of the machine", is: func(f *redisconn.NodeFacts) { f.MaxMemory, f.Memory = 0, 90_000 }, want: []string{"note redis_memory " + at}},
	{
		name: "no maxmemory, over 90% of the machine", is: func(f *redisconn.NodeFacts) { f.MaxMemory, f.Memory = 0, 90_001 },
		want: []string{"warning redis_memory " + at}, what: "of the memory of its machine",
	},
	{name: "no maxmemory, and no size", is: func(f *redisconn.NodeFacts) { f.MaxMemory, f.SystemMemory = 0, 0 }, want: []string{"note redis_memory " + at}},
	{name: "maxmemory, and no size", is: func(f *redisconn.NodeFacts) { f.SystemMemory = 0 }},

	{
		name: "nothing on disk", is: func(f *redisconn.NodeFacts) { f.AOF = false }, want: []string{"warning redis_persistence " + at},
		what: "nothing on disk",
		fix:  "redis-cli -h 10.0.0.1 -p 6379 CONFIG SET appendonly yes appendfsync always  # and in redis.conf: appendonly yes, appendfsync always",
	},
	{
		name: "snapshots", is: func(f *redisconn.NodeFacts) { f.AOF, f.Snapshots = false, "3600 1" }, want: []string{"warning redis_persistence " + at},
		what: "only snapshots, if anything",
	},
	{name: "everysec", is: func(f *redisconn.NodeFacts) { f.Fsync = "everysec" }, want: []string{"warning redis_persistence " + at}, what: "everysec"},
	{name: "no fsync", is: func(f *redisconn.NodeFacts) { f.Fsync = "no" }, want: []string{"warning redis_persistence " + at}, what: "appendfsync no"},
	{
		name: "no file, and no CONFIG",
		is: func(f *redisconn.NodeFacts) {
			f.AOF, f.Fsync, f.MinReplicas, f.Unreadable = false, "", 0, []string{"config|get"}
		},
		want: []string{"note redis_readable " + at, "warning redis_persistence " + at},
	},
	{
		name: "a file, and no CONFIG", is: func(f *redisconn.NodeFacts) { f.Fsync, f.MinReplicas, f.Unreadable = "", 0, []string{"config|get"} },
		want: []string{"note redis_readable " + at}, what: "app may not run config|get",
		fix: "redis-cli -h 10.0.0.1 -p 6379 ACL SETUSER app '+config|get'  # or check it where this Redis is managed",
	},

	{
		name: "a write failed", is: func(f *redisconn.NodeFacts) { f.AOFFailed = true }, want: []string{"warning redis_disk " + at}, what: "append-only",
		fix: "redis-cli -h 10.0.0.1 -p 6379 CONFIG GET dir  # free some space there; its log has the cause",
	},
	{name: "a snapshot failed", is: func(f *redisconn.NodeFacts) { f.SnapshotFailed, f.Snapshots = true, "60 1" }, want: []string{"warning redis_disk " + at}, what: "snapshot"},
	{name: "a snapshot failed that nobody wants", is: func(f *redisconn.NodeFacts) { f.SnapshotFailed = true }},
	{
		name: "a snapshot failed, and no CONFIG", is: func(f *redisconn.NodeFacts) { f.SnapshotFailed, f.Unreadable = true, []string{"config|get"} },
		want: []string{"note redis_readable " + at, "warning redis_disk " + at},
	},
	{name: "loading", is: func(f *redisconn.NodeFacts) { f.Loading = true }, want: []string{"warning redis_loading " + at}},

	{
		name: "no replica", is: func(f *redisconn.NodeFacts) { f.Replicas, f.ReplicasOnline, f.MinReplicas = 0, 0, 0 }, want: []string{"note redis_replicas " + at},
		fix: "Start a redis-server on another machine, with replicaof HOST PORT, and masteruser and masterauth if this one requires them.",
	},
	{
		name: "no replica in a Cluster", is: func(f *redisconn.NodeFacts) { f.Replicas, f.ReplicasOnline, f.MinReplicas, f.Cluster = 0, 0, 0, true },
		opts: RedisOptions{Cluster: true},
		want: []string{"note redis_replicas " + at},
		fix:  "redis-cli --cluster add-node REPLICA:6379 10.0.0.1:6379 --cluster-slave  # REPLICA: another machine",
	},
	{name: "a replica that does not follow", is: func(f *redisconn.NodeFacts) { f.ReplicasOnline = 1 }, want: []string{"warning redis_replicas " + at}, what: "1 of 2 replicas"},
	{
		name: "no min-replicas", is: func(f *redisconn.NodeFacts) { f.MinReplicas = 0 }, want: []string{"warning redis_min_replicas " + at},
		fix: "redis-cli -h 10.0.0.1 -p 6379 CONFIG SET min-replicas-to-write 1  # and in redis.conf: min-replicas-to-write 1",
	},
	{
		name: "no replica to spare", is: func(f *redisconn.NodeFacts) { f.MinReplicas = 2 }, want: []string{"warning redis_min_replicas " + at},
		what: "is 2, with 2 replicas in all", fix: "Add a replica, or: redis-cli -h 10.0.0.1 -p 6379 CONFIG SET min-replicas-to-write 1  # and in redis.conf: min-replicas-to-write 1",
	},
	{name: "one replica, and none needed", is: func(f *redisconn.NodeFacts) { f.Replicas, f.ReplicasOnline, f.MinReplicas = 1, 1, 0 }},
	{
		name: "a replica that does not know the user", is: func(f *redisconn.NodeFacts) { f.Strangers = []string{"10.0.0.3:6379"} },
		want: []string{"warning redis_replicas " + at}, what: "user app is missing, or may do less, on 10.0.0.3:6379",
	},
	{
		name: "too few replicas", is: func(f *redisconn.NodeFacts) { f.MinReplicas = 3 }, want: []string{"warning redis_min_replicas " + at},
		what: "min-replicas-to-write is 3, with 2 replicas in sync",
	},
	{
		name: "none of the replicas needed", is: func(f *redisconn.NodeFacts) { f.Replicas, f.ReplicasOnline = 0, 0 },
		want: []string{"note redis_replicas " + at, "warning redis_min_replicas " + at},
	},

	{name: "a second ahead", is: func(f *redisconn.NodeFacts) { f.ClockOffset = time.Second }},
	{name: "over a second ahead", is: func(f *redisconn.NodeFacts) { f.ClockOffset = time.Second + 1 }, want: []string{"warning redis_clock " + at}, what: "1s ahead of"},
	{name: "over a second, within the error", is: func(f *redisconn.NodeFacts) { f.ClockOffset, f.ClockError = time.Second+1, 1 }},
	{name: "a second behind", is: func(f *redisconn.NodeFacts) { f.ClockOffset = -time.Second }},
	{
		name: "over a second behind", is: func(f *redisconn.NodeFacts) { f.ClockOffset = -3210 * time.Millisecond },
		want: []string{"warning redis_clock " + at}, what: "3.2s behind", fix: "timedatectl set-ntp true  # on both machines",
	},

	{
		name: "a key without an expiry", is: func(f *redisconn.NodeFacts) { f.Endless = 1 }, want: []string{"warning redis_expiry " + at},
		what: "1 of 1000 keys authsvc:[^{]* ",
		fix: "redis-cli -h 10.0.0.1 -p 6379 --scan --pattern 'authsvc:[^{]*' | xargs -I KEY redis-cli -h 10.0.0.1 -p 6379 EXPIRE KEY 2592600 NX" +
			"  # changes no key that has an expiry",
	},
	{name: "no keys", is: func(f *redisconn.NodeFacts) { f.Sampled = 0 }},

	{
		name: "no INFO", is: func(f *redisconn.NodeFacts) {
			*f = redisconn.NodeFacts{Addr: at, User: "app", Unreadable: []string{"info", "scan"}, Fsync: "always", ClockOffset: time.Minute}
		},
		want: []string{"warning redis_readable " + at, "warning redis_clock " + at}, what: "info, scan",
		fix: "redis-cli -h 10.0.0.1 -p 6379 ACL SETUSER app +info +scan  # or check it where this Redis is managed",
	},
	{
		name: "no TIME", is: func(f *redisconn.NodeFacts) { f.Unreadable = []string{"time", "pttl"} },
		want: []string{"note redis_readable " + at}, fix: "redis-cli -h 10.0.0.1 -p 6379 ACL SETUSER app +time +pttl  # or check it where this Redis is managed",
	},
}

func TestRedis(t *testing.T) {
	t.Parallel()
	for _, tt := range redisTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := healthy()
			tt.is(&f)
			found := Redis([]redisconn.NodeFacts{f}, tt.opts)
			wantFindings(t, found, tt.want)
			if len(found) == 0 || len(tt.want) == 0 {
				return
			}
			if !strings.Contains(found[0].What, tt.what) {
				t.Errorf("what: %s; want %q in it", found[0].What, tt.what)
			}
			if tt.fix != "" && found[0].Fix != tt.fix {
				t.Errorf("fix: %s\nwant %s", found[0].Fix, tt.fix)
			}
		})
	}
}

// Each thing that is wrong with a primary is found once at each, so that a change
// can be told.
func TestRedisHasOneFindingForACheckAndAPrimary(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.Version, f.Eviction, f.Memory, f.Fsync, f.AOFFailed, f.SnapshotFailed, f.Loading = "6", "", 9999, "everysec", true, true, true
	f.Snapshots, f.ReplicasOnline, f.MinReplicas, f.ClockOffset, f.Endless = "1 1", 0, 1, time.Minute, 1
	found := Redis([]redisconn.NodeFacts{f, another(f)}, RedisOptions{})
	seen := map[string]bool{}
	for _, b := range brief(found) {
		if seen[b] {
			t.Errorf("%s: twice", b)
		}
		seen[b] = true
	}
	if len(found) != 20 {
		t.Errorf("%d findings, want 10 for each: %q", len(found), brief(found))
	}
	if found := Redis(nil, RedisOptions{}); found != nil {
		t.Errorf("without a primary: %v", found)
	}
}

func TestClocksOfPrimaries(t *testing.T) {
	t.Parallel()
	const differ = "warning redis_clock primaries"
	for _, tt := range []struct {
		name           string
		offsets        []time.Duration
		err            time.Duration // of each
		unknown, found bool
	}{
		{"one", []time.Duration{900 * time.Millisecond}, 0, false, false},
		{"the same", []time.Duration{900 * time.Millisecond, 900 * time.Millisecond}, 0, false, false},
		{"100 ms", []time.Duration{0, 100 * time.Millisecond}, 0, false, false},
		{"over 100 ms", []time.Duration{0, 100*time.Millisecond + 1}, 0, false, true},
		{"over 100 ms behind", []time.Duration{0, -100*time.Millisecond - 1}, 0, false, true},
		{"on both sides", []time.Duration{-51 * time.Millisecond, 0, 50 * time.Millisecond}, 0, false, true},
		{"within the errors", []time.Duration{0, 120 * time.Millisecond}, 10 * time.Millisecond, false, false},
		{"over the errors", []time.Duration{0, 121 * time.Millisecond}, 10 * time.Millisecond, false, true},
		{"one is not known", []time.Duration{0, 500 * time.Millisecond}, 0, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var nodes []redisconn.NodeFacts
			for i, offset := range tt.offsets {
				f := healthy()
				f.Addr, f.ClockOffset, f.ClockError = fmt.Sprintf("10.0.0.%d:6379", i), offset, tt.err
				if tt.unknown && i == 0 {
					f.Unreadable = []string{"time"}
				}
				nodes = append(nodes, f)
			}
			var want []string
			if tt.unknown {
				want = append(want, "note redis_readable 10.0.0.0:6379")
			}
			if tt.found {
				want = append(want, differ)
			}
			wantFindings(t, Redis(nodes, RedisOptions{}), want)
		})
	}
}

const (
	permissionsWant = "error redis_permissions " + at
	unavailableWant = "error redis_unavailable " + at
	replicaWant     = "error redis_role " + at
)

func TestPermissions(t *testing.T) {
	t.Parallel()
	refused := &redisconn.PermissionError{Nodes: []redisconn.Refusal{
		{Addr: at, User: "app", Commands: []string{"eval", "client|setname"}, Keys: "authsvc:*"},
		{Addr: "10.0.0.2:6379", User: "app", Missing: []string{"eval"}},
	}}
	found := Permissions(refused, RedisOptions{})
	wantFindings(t, found, []string{permissionsWant, "error redis_permissions 10.0.0.2:6379"})
	const fix = "redis-cli -h 10.0.0.1 -p 6379 ACL SETUSER app +eval '+client|setname' '~authsvc:*'  # and the same in the ACL file or in redis.conf, and on its replicas"
	if found[0].Fix != fix || !strings.Contains(found[1].Fix, "rename-command") {
		t.Errorf("%s\n%s", found[0].Fix, found[1].Fix)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	f := Unavailable(at, fmt.Errorf("the store: %w", &redisconn.Error{Reason: redisconn.Replica, Err: errors.New("a replica; its primary, 10.0.0.2:6379")}))
	wantFindings(t, []Finding{f}, []string{replicaWant})
	if !strings.Contains(f.What, "its primary, 10.0.0.2:6379") || strings.Contains(f.What, "the store:") || !strings.Contains(f.Fix, "primary") {
		t.Errorf("%+v", f)
	}
	for _, tt := range []struct {
		reason redisconn.Reason
		err    string
		fix    string
	}{
		{redisconn.Other, "dial tcp 10.0.0.1:6379: connect: connection refused", "Check that Redis is running"},
		{redisconn.NoUser, "WRONGPASS invalid username-password pair or user is disabled.", "users are not replicated"},
		{redisconn.NotPermitted, "NOPERM this user has no permissions to run the 'cluster|slots' command", "ACL SETUSER"},
		{redisconn.IsNoCluster, "ERR This instance has cluster support disabled", "redis://"},
		{redisconn.ClusterDown, "CLUSTERDOWN Hash slot not served", "--cluster check"},
		{redisconn.SentinelRefuses, "redis: all sentinels specified in configuration are unreachable: NOAUTH x", "--store-sentinel-password"},
		{redisconn.UnknownPrimary, "redis: all sentinels specified in configuration are unreachable: redis: nil", "SENTINEL MASTERS"},
		{redisconn.IsNoSentinel, "redis: all sentinels specified in configuration are unreachable: ERR unknown command 'sentinel'", "26379"},
		{redisconn.IsSentinel, "this is a Sentinel, and no Redis", "NAME"},
		{redisconn.NoUser, "NOAUTH Authentication required.", "the user and the password"},
		{redisconn.TLSRefused, "tls: failed to verify certificate: x509: certificate signed by unknown authority", "--store-ca"},
		{redisconn.TLSRefused, "remote error: tls: certificate required", "--store-cert"},
	} {
		f := Unavailable(at, &redisconn.Error{Reason: tt.reason, Err: errors.New(tt.err)})
		wantFindings(t, []Finding{f}, []string{unavailableWant})
		if !strings.Contains(f.What, strings.TrimSuffix(tt.err, ".")) && !strings.Contains(f.What, "with the name in --store") {
			t.Errorf("%s, want %s", f.What, tt.err)
		}
		if !strings.Contains(f.Fix, tt.fix) {
			t.Errorf("%s: %s", tt.err, f.Fix)
		}
	}
}

// A real one, in its health and not.
func TestCheckRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb")
	check := func(url string) ([]Finding, error) {
		target, err := store.ParseTarget(url)
		if err != nil {
			t.Fatal(err)
		}
		st, err := store.Open(target, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		return CheckRedis(t.Context(), st.(RedisStore), RedisOptions{})
	}
	replicas := "note redis_replicas " + server.Addr()
	found, err := check(server.URL())
	wantFindings(t, found, []string{replicas})
	if err != nil {
		t.Error(err)
	}
	if err := server.Client().Do(t.Context(), "ACL", "SETUSER", "app", "on", ">pw", "~authsvc:*", "+@all", "-eval").Err(); err != nil {
		t.Fatal(err)
	}
	found, err = check("redis://app:pw@" + server.Addr())
	wantFindings(t, found, []string{"error redis_permissions " + server.Addr(), replicas})
	if err != nil {
		t.Error(err)
	}
	found, err = check("redis://127.0.0.1:1")
	wantFindings(t, found, nil)
	if !errors.As(err, new(*redisconn.Error)) {
		t.Error(err)
	}
}
