package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"authsvc/internal/redistest"
)

// factsOf is what the only primary says.
func factsOf(t testing.TB, r *Conn) NodeFacts {
	t.Helper()
	all, err := r.Facts(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%d primaries, %v", len(all), err)
	}
	return all[0]
}

// without leaves out what differs from run to run.
func without(f NodeFacts) NodeFacts {
	f.Memory, f.SystemMemory, f.ClockOffset, f.ClockError = 0, 0, 0, 0
	return f
}

func TestFacts(t *testing.T) {
	server := redistest.Start(t)
	r := openPatient(t, server.URL())
	want := NodeFacts{
		Addr: server.Addr(), User: "default", Keys: "authsvc:[^{]*",
		Version: "7.0.15", Eviction: "noeviction", Fsync: "everysec",
	}
	got := factsOf(t, r)
	want.Version = got.Version // that of the machine
	if diff := cmp.Diff(want, without(got)); diff != "" || !strings.Contains(got.Version, ".") {
		t.Errorf("%q: %s", got.Version, diff)
	}
	if got.Memory <= 0 || got.SystemMemory <= got.Memory {
		t.Errorf("%d bytes of %d in use", got.Memory, got.SystemMemory)
	}
	if got.ClockError <= 0 || got.ClockOffset.Abs() > got.ClockError+time.Millisecond { // TIME is cut, to a microsecond
		t.Errorf("the clock of this machine is off by %v from itself, give or take %v", got.ClockOffset, got.ClockError)
	}

	for _, set := range []string{
		"maxmemory 100mb", "maxmemory-policy allkeys-lru", "appendonly yes", "appendfsync always",
		"min-replicas-to-write 2",
	} {
		name, value, _ := strings.Cut(set, " ")
		do(t, server, "CONFIG", "SET", name, value)
	}
	do(t, server, "CONFIG", "SET", "save", "3600 1 60 10000")
	want.MaxMemory, want.Eviction, want.AOF, want.Fsync = 100<<20, "allkeys-lru", true, "always"
	want.MinReplicas, want.Snapshots = 2, "3600 1 60 10000"
	if diff := cmp.Diff(want, without(factsOf(t, r))); diff != "" {
		t.Error(diff)
	}
}

func TestFactsOfReplicas(t *testing.T) {
	primary := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	host, port, _ := net.SplitHostPort(primary.Addr())
	do(t, primary, "SET", "authsvc:x", "1")
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	r := openPatient(t, primary.URL())
	var f NodeFacts
	redistest.Eventually(t, "the replica to be online", func() bool {
		f = factsOf(t, r)
		return f.ReplicasOnline == 1
	})
	if f.Replicas != 1 || f.Sampled != 1 || f.Endless != 1 {
		t.Errorf("%+v", f)
	}
	_, err := openPatient(t, replica.URL()).Facts(t.Context())
	if !errors.Is(err, ErrReplica) || !strings.Contains(err.Error(), primary.Addr()) {
		t.Errorf("the facts of a replica: %v, want that it is one of %s", err, primary.Addr())
	}
}

// rights are a user's that has every permission for the service and for Facts but
// some.
func rights(t testing.TB, server *redistest.Server, but ...string) *Conn {
	t.Helper()
	rules := []any{"ACL", "SETUSER", "app", "reset", "on", ">pw", "~authsvc:*"}
	for _, c := range []string{
		"client|setname", "select", "get", "set", "del", "time", "eval", "evalsha", "info", "role", "config|get", "scan", "pttl",
	} {
		rules = append(rules, "+"+c)
	}
	for _, c := range but {
		rules = append(rules, c)
	}
	do(t, server, rules...)
	return openPatient(t, "redis://app:pw@"+server.Addr()+"/2")
}

// Users are not replicated: a replica that does not know ours is told of before it
// is needed.
func TestFactsOfReplicasThatDoNotKnowTheUser(t *testing.T) {
	t.Parallel()
	trio := redistest.StartTrio(t)
	user := func(server *redistest.Server) {
		t.Helper()
		do(t, server, "ACL", "SETUSER", "app", "on", ">pw", "~authsvc:*", "+@all")
	}
	user(trio.Primary())
	s := openPatient(t, strings.Replace(trio.URL(), "://", "://app:pw@", 1))
	var replicas []string
	for _, server := range trio.Servers() {
		if server != trio.Primary() {
			replicas = append(replicas, server.Addr())
		}
	}
	f := factsOf(t, s)
	slices.Sort(f.Strangers)
	slices.Sort(replicas)
	if !slices.Equal(f.Strangers, replicas) || f.Addr != trio.Primary().Addr() {
		t.Errorf("%s: strangers %q, want %q", f.Addr, f.Strangers, replicas)
	}
	for _, server := range trio.Servers() {
		user(server)
	}
	if f := factsOf(t, s); f.Strangers != nil {
		t.Errorf("strangers %q, want none", f.Strangers)
	}
}

// What a user may not read is a fact, and the others are read even so.
func TestFactsOfAUserWithFewerRights(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "100mb")
	if err := put(t.Context(), rights(t, server), prefix+"x", "1"); err != nil {
		t.Fatal(err)
	}
	all := without(factsOf(t, rights(t, server)))
	if all.User != "app" || all.DB != 2 || all.Unreadable != nil || all.Sampled != 1 || all.Endless != 0 || all.MaxMemory == 0 || all.Fsync == "" {
		t.Fatalf("%+v", all)
	}
	for _, tt := range []struct {
		command string
		lose    func(*NodeFacts)
	}{
		{"info", func(f *NodeFacts) { f.Version, f.MaxMemory = "", 0 }}, // the policy is also in CONFIG
		{"config|get", func(f *NodeFacts) { f.Fsync = "" }},
		{"time", func(*NodeFacts) {}},
		{"scan", func(f *NodeFacts) { f.Sampled = 0 }},
		{"pttl", func(f *NodeFacts) { f.Sampled = 0 }},
	} {
		got := factsOf(t, rights(t, server, "-"+tt.command))
		want := all
		want.Unreadable = []string{tt.command}
		tt.lose(&want)
		if diff := cmp.Diff(want, without(got)); diff != "" {
			t.Errorf("without %s: %s", tt.command, diff)
		}
		if got.Knows(tt.command) || tt.command == "time" && (got.ClockOffset != 0 || got.ClockError != 0) {
			t.Errorf("without %s: %+v", tt.command, got)
		}
	}
}

// Some who run Redis for others have no CONFIG.
func TestFactsOfARedisWithoutConfig(t *testing.T) {
	server := redistest.Start(t, "--rename-command", "CONFIG", "")
	if f := factsOf(t, openPatient(t, server.URL())); f.Knows("config|get") || f.Version == "" {
		t.Errorf("%+v", f)
	}
}

// Samples see all keys in the end, each at a bounded cost.
func TestSamplesGoOn(t *testing.T) {
	server := redistest.Start(t)
	r := openPatient(t, server.URL())
	const ours, endless = 3000, 7
	pipe := server.Client().Pipeline()
	for i := range ours {
		ttl := time.Hour
		if i < endless {
			ttl = 0
		}
		pipe.Set(t.Context(), fmt.Sprintf("authsvc:%d", i), "1", ttl)
		pipe.Set(t.Context(), fmt.Sprintf("other:%d", i), "1", 0)
		pipe.Set(t.Context(), fmt.Sprintf("authsvc:{other}%d", i), "1", 0) // no grant's
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls, sampled, found := 0, 0, 0
	for calls == 0 || r.samples.cursors[server.Addr()] != 0 {
		before := server.Calls("scan")
		f := factsOf(t, r)
		if n := server.Calls("scan") - before; n > sampleScans || f.Sampled > 2*sampleScans*scanCount {
			t.Fatalf("%d keys in %d SCAN", f.Sampled, n)
		}
		calls, sampled, found = calls+1, sampled+f.Sampled, found+f.Endless
	}
	if calls < 5 || sampled < ours || found < endless || found > 2*endless { // SCAN may return a key twice
		t.Errorf("%d calls, %d keys, %d without expiry", calls, sampled, found)
	}

	r.samples.cursors["192.0.2.1:6379"] = 1
	factsOf(t, r)
	if _, kept := r.samples.cursors["192.0.2.1:6379"]; kept {
		t.Error("a primary that is none any more is not forgotten")
	}
}

func TestFactsOfAnAbsentRedis(t *testing.T) {
	r := openURL(t, "redis://127.0.0.1:1/0")
	facts, err := r.Facts(t.Context())
	wantUnavailable(t, "Facts", err)
	if len(facts) != 0 || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v, %+v", err, facts)
	}
	err = r.CheckPermissions(t.Context(), needs)
	wantUnavailable(t, "CheckPermissions", err)
	if _, refused := refusalsOf(err); refused {
		t.Error(err)
	}
	wrong := openURL(t, strings.TrimSuffix(redistest.Start(t, "--requirepass", "s3cret-pw").URL(), "0")+"99")
	if _, err := wrong.Facts(t.Context()); !errors.As(err, new(*Error)) || strings.Contains(err.Error(), "s3cret-pw") {
		t.Error(err)
	}
}

// A single lost reply is no reason to fail.
func TestFactsAndPermissionsAreRepeated(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	r := openPatient(t, p.URL())
	for i, name := range []string{"info", "CONFIG", "time", "scan", "SET", "EVAL", "DEL"} {
		p.CutReplies(1, redistest.Command(name))
		factsOf(t, r)
		if err := r.CheckPermissions(t.Context(), needs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p.Cut() != i+1 {
			t.Errorf("%s: %d replies lost, want %d", name, p.Cut(), i+1)
		}
	}
}

// A Redis that is still reading its data tells so, and what it permits.
func TestFactsOfARedisThatLoads(t *testing.T) {
	server := redistest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
	full, less := openPatient(t, server.URL()), rights(t, server, "-del")
	do(t, server, "DEBUG", "POPULATE", "20000", "authsvc")
	do(t, server, "CONFIG", "SET", "key-load-delay", "1000") // microseconds; 20 s in all
	reloading := redis.NewClient(&redis.Options{Addr: server.Addr(), ReadTimeout: -1, MaxRetries: -1})
	defer reloading.Close()
	reloaded := make(chan error, 1)
	go func() { reloaded <- reloading.Do(context.Background(), "DEBUG", "RELOAD").Err() }()

	var f NodeFacts
	redistest.Eventually(t, "Redis to read its data", func() bool {
		f = factsOf(t, full)
		return f.Loading
	})
	if f.Unreadable != nil || f.Sampled != 0 || f.Version == "" || f.Fsync == "" {
		t.Errorf("%+v", f)
	}
	if err := full.CheckPermissions(t.Context(), needs); err != nil {
		t.Error(err)
	}
	if refused, _ := refusalsOf(less.CheckPermissions(t.Context(), needs)); len(refused) != 1 || !slices.Equal(refused[0].Commands, []string{"del"}) {
		t.Errorf("%+v", refused)
	}
	do(t, server, "CONFIG", "SET", "key-load-delay", "0")
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	if f := factsOf(t, full); f.Loading || f.Sampled == 0 || f.Endless != f.Sampled {
		t.Errorf("%+v", f)
	}
}
