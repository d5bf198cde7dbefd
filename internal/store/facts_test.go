package store

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
	"authsvc/internal/token"
)

// openPatient returns a store that waits for a Redis on a busy machine.
func openPatient(t testing.TB, url string) *Redis {
	t.Helper()
	return openRaw(t, url, queueLimit, func(o *redis.UniversalOptions) {
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = 10*time.Second, 10*time.Second, 10*time.Second, 10*time.Second
	})
}

// factsOf is what the only primary says.
func factsOf(t testing.TB, r *Redis) NodeFacts {
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

func do(t testing.TB, s *redistest.Server, args ...any) any {
	t.Helper()
	reply, err := s.Client().Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return reply
}

func TestFacts(t *testing.T) {
	server := redistest.Start(t)
	r := openPatient(t, server.URL())
	want := NodeFacts{
		Addr: server.Addr(), User: "default", Keys: "authsvc:*",
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
	do(t, primary, "SET", "authsvc:g:x", "1")
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
func rights(t testing.TB, server *redistest.Server, but ...string) *Redis {
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

// What a user may not ask is a fact, and the others are told even so.
func TestFactsOfAUserWithFewerRights(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "100mb")
	created(t, rights(t, server), one)
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
		pipe.Set(t.Context(), fmt.Sprintf("authsvc:g:%d", i), "1", ttl)
		pipe.Set(t.Context(), fmt.Sprintf("other:%d", i), "1", 0)
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
	r := open(t, "redis://127.0.0.1:1/0")
	facts, err := r.Facts(t.Context())
	wantUnavailable(t, "Facts", err)
	if len(facts) != 0 || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v, %+v", err, facts)
	}
	err = r.Probe(t.Context())
	wantUnavailable(t, "Probe", err)
	if _, refused := refusalsOf(err); refused {
		t.Error(err)
	}
	wrong := open(t, strings.TrimSuffix(redistest.Start(t, "--requirepass", "s3cret-pw").URL(), "0")+"99")
	if _, err := wrong.Facts(t.Context()); !errors.Is(err, token.ErrUnavailable) || strings.Contains(err.Error(), "s3cret-pw") {
		t.Error(err)
	}
}

// A single lost reply is no reason to fail.
func TestFactsAndProbeAreRepeated(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	r := openPatient(t, p.URL())
	for i, name := range []string{"info", "CONFIG", "time", "scan", "SET", "EVAL", "DEL"} {
		p.CutReplies(1, command(name))
		factsOf(t, r)
		if err := r.Probe(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p.Cut() != i+1 {
			t.Errorf("%s: %d replies lost, want %d", name, p.Cut(), i+1)
		}
	}
}

func refusalsOf(err error) ([]Refusal, bool) {
	refused := (*PermissionError)(nil)
	if !errors.As(err, &refused) {
		return nil, false
	}
	return refused.Nodes, true
}

// Each permission that is missing is found by itself, and what Grant says mends it.
func TestProbe(t *testing.T) {
	server := redistest.Start(t)
	for _, tt := range []struct {
		name  string
		rules []string
		want  Refusal
		grant string
	}{
		{"get", []string{"-get"}, Refusal{Commands: []string{"get"}}, "+get"},
		{"set", []string{"-set"}, Refusal{Commands: []string{"set"}}, "+set"},
		{"del", []string{"-del"}, Refusal{Commands: []string{"del"}}, "+del"},
		{"eval", []string{"-eval"}, Refusal{Commands: []string{"eval"}}, "+eval"},
		{"evalsha", []string{"-evalsha"}, Refusal{Commands: []string{"evalsha"}}, "+evalsha"},
		{"time", []string{"-time"}, Refusal{Commands: []string{"time"}}, "+time"},
		{"role", []string{"-role"}, Refusal{Commands: []string{"role"}}, "+role"},
		{"what a connection begins with", []string{"-client|setname"}, Refusal{Commands: []string{"client|setname"}}, "+client|setname"},
		{"the database", []string{"-select"}, Refusal{Commands: []string{"select"}}, "+select"},
		{"keys", []string{"resetkeys", "~other:*"}, Refusal{Keys: "authsvc:*"}, "~authsvc:*"},
		{"writing keys", []string{"resetkeys", "%R~authsvc:*"}, Refusal{Keys: "authsvc:*"}, "~authsvc:*"},
		{"reading keys", []string{"resetkeys", "%W~authsvc:*"}, Refusal{Keys: "authsvc:*"}, "~authsvc:*"},
		{
			"all that a request needs",
			[]string{"-get", "-set", "-del", "-time", "-eval", "-evalsha"},
			Refusal{Commands: []string{"time", "set", "get", "eval", "evalsha", "del"}},
			"+time +set +get +eval +evalsha +del",
		},
		{
			"a command and the keys",
			[]string{"-evalsha", "resetkeys"},
			Refusal{Commands: []string{"evalsha"}, Keys: "authsvc:*"},
			"+evalsha ~authsvc:*",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Addr, tt.want.User = server.Addr(), "app"
			tt.grant = "ACL SETUSER app " + tt.grant
			r := rights(t, server, tt.rules...)
			err := r.Probe(t.Context())
			refused, _ := refusalsOf(err)
			if diff := cmp.Diff([]Refusal{tt.want}, refused); diff != "" || err == nil {
				t.Fatalf("%v: %s", err, diff)
			}
			if refused[0].Grant() != tt.grant || !strings.Contains(err.Error(), tt.grant) || !strings.Contains(err.Error(), server.Addr()) {
				t.Errorf("%q: %v", refused[0].Grant(), err)
			}
			var grant []any
			for _, word := range strings.Fields(tt.grant) {
				grant = append(grant, word)
			}
			do(t, server, grant...)
			if err := r.Probe(t.Context()); err != nil {
				t.Errorf("with what it asked for: %v", err)
			}
		})
	}
	for _, record := range server.Dump() {
		if ttl := server.Client().Do(t.Context(), "PTTL", record.Key).Val(); ttl == int64(-1) {
			t.Errorf("%s stays for ever", record.Key)
		}
	}
}

// With all rights nothing is refused, and nothing is left behind.
func TestProbeLeavesNothingBehind(t *testing.T) {
	server := redistest.Start(t)
	if err := rights(t, server, "-config|get", "-scan", "-pttl").Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(server.Dump()); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func TestProbeFindsCommandsThatAreNotThere(t *testing.T) {
	server := redistest.Start(t, "--rename-command", "EVAL", "", "--rename-command", "DEL", "other")
	err := openPatient(t, server.URL()).Probe(t.Context())
	refused, _ := refusalsOf(err)
	want := []Refusal{{Addr: server.Addr(), User: "default", Missing: []string{"eval", "del"}}}
	if diff := cmp.Diff(want, refused); diff != "" || refused[0].Grant() != "" || !strings.Contains(fmt.Sprint(err), "eval, del") {
		t.Errorf("%v: %s", err, diff)
	}
}

// A Redis that is still reading its data tells so, and what it permits.
func TestFactsOfARedisThatLoads(t *testing.T) {
	server := redistest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
	full, less := openPatient(t, server.URL()), rights(t, server, "-del")
	do(t, server, "DEBUG", "POPULATE", "20000", "authsvc:g")
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
	if err := full.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if refused, _ := refusalsOf(less.Probe(t.Context())); len(refused) != 1 || !slices.Equal(refused[0].Commands, []string{"del"}) {
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

// What else is wrong with a Redis is no missing permission, and hides none: a full
// one, and a node of a Cluster that does not have the slot.
func TestProbeOfARedisThatDoesNotTakeWrites(t *testing.T) {
	for name, server := range map[string]*redistest.Server{
		"full":    redistest.Start(t, "--maxmemory", "1"),
		"cluster": redistest.Start(t, "--cluster-enabled", "yes", "--databases", "1"),
	} {
		if err := openPatient(t, server.URL()).Probe(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		do(t, server, "ACL", "SETUSER", "app", "on", ">pw", "~authsvc:*", "+@all", "-set", "-evalsha")
		err := openPatient(t, "redis://app:pw@"+server.Addr()).Probe(t.Context())
		want := []Refusal{{Addr: server.Addr(), User: "app", Commands: []string{"set", "evalsha"}}}
		refused, _ := refusalsOf(err)
		if diff := cmp.Diff(want, refused); diff != "" {
			t.Errorf("%s: %v: %s", name, err, diff)
		}
		if f := factsOf(t, openPatient(t, server.URL())); f.Cluster != (name == "cluster") {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// The words of other versions than the one that the tests run.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		answer  string
		kind    refusalKind
		command string
	}{
		{"NOPERM this user has no permissions to run the 'eval' command", commandRefused, "eval"},
		{"NOPERM this user has no permissions to run the 'eval' command or its subcommand", commandRefused, "eval"},
		{"NOPERM User o'app has no permissions to run the 'client|setname' command", commandRefused, "client|setname"},
		{"NOPERM this user has no permissions to access one of the keys used as arguments", keysRefused, ""},
		{"NOPERM No permissions to access a key", keysRefused, ""},
		{"NOPERM not for you", commandRefused, ""},
		{"ERR unknown command 'EVAL', with args beginning with: ", commandMissing, "eval"},
		{"ERR unknown command `EVAL`, with args beginning with: ", commandMissing, "eval"},
		{"ERR DB index is out of range", notRefused, ""},
		{"OOM command not allowed when used memory > 'maxmemory'.", notRefused, ""},
		{"WRONGPASS invalid username-password pair or user is disabled.", notRefused, ""},
	} {
		for _, err := range []error{answer(tt.answer), fmt.Errorf("setting up: %w", answer(tt.answer))} {
			if kind, command := refusalOf(err); kind != tt.kind || command != tt.command {
				t.Errorf("%v: %d %q", err, kind, command)
			}
		}
	}
	if kind, _ := refusalOf(errors.New("NOPERM of somebody else")); kind != notRefused {
		t.Error("an error that is no answer of Redis counts as one")
	}
}

// answer is an error that Redis answers.
type answer string

func (a answer) Error() string { return string(a) }

// RedisError marks it.
func (a answer) RedisError() {}
