package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/authsvctest"
	"authsvc/internal/keyring"
	"authsvc/internal/redistest"
)

// finding is one of authsvc doctor -o json.
type finding struct{ Check, Subject, Severity, What, Why, Fix string }

// diagnose runs authsvc doctor -o json on a store, and returns its exit status and
// what it found: "error redis_eviction".
func diagnose(t *testing.T, site *authsvctest.Site, store string, args ...string) (status int, brief []string, found []finding) {
	t.Helper()
	args = append([]string{"doctor", "--store", store, "--apps", site.Apps, "--keys", site.Keys, "-o", "json"}, args...)
	status, stdout, stderr := authsvc("", args...)
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || found == nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if (stderr == "") != (status == 0) || strings.Contains(stdout+stderr, "s3cret-pw") {
		t.Errorf("%d, %q", status, stderr)
	}
	for _, f := range found {
		brief = append(brief, f.Severity+" "+f.Check)
	}
	return status, brief, found
}

// healthyRedis is one that the doctor has nothing but a note on.
var healthyRedis = []string{"--maxmemory", "100mb", "--appendonly", "yes", "--appendfsync", "always"}

func TestDoctorSeesRedis(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	with := func(args ...string) *redistest.Server {
		return redistest.Start(t, append(slices.Clone(healthyRedis), args...)...)
	}
	healthy, locked := with("--repl-diskless-sync-delay", "0"), with("--requirepass", "s3cret-pw")
	evicting := with("--maxmemory-policy", "allkeys-lru")
	passing := with("--appendfsync", "everysec")
	replica := with("--replicaof", strings.Replace(healthy.Addr(), ":", " ", 1))
	redistest.Eventually(t, "the replica to follow", func() bool {
		return strings.Contains(healthy.Client().Info(t.Context(), "replication").Val(), "state=online")
	})
	for _, tt := range []struct {
		name, store string
		status      int
		want        []string
	}{
		{"healthy", healthy.URL(), 0, nil},
		{"a password", locked.URL(), 0, []string{"note redis_replicas"}},
		{"warnings", passing.URL(), 2, []string{"warning redis_persistence", "note redis_replicas"}},
		{"eviction", evicting.URL(), 1, []string{"error redis_eviction", "note redis_replicas"}},
		{"a replica", replica.URL(), 1, []string{"error redis_role"}},
		{"no Redis", "redis://:s3cret-pw@127.0.0.1:1/0", 1, []string{"error redis_unavailable"}},
		{"no password", "redis://" + locked.Addr(), 1, []string{"error redis_unavailable"}},
		{"wrong password", "redis://:s3cret-pw2@" + locked.Addr(), 1, []string{"error redis_unavailable"}},
		{"no database", strings.TrimSuffix(healthy.URL(), "0") + "99", 1, []string{"error redis_unavailable"}},
		{"memory", "memory://", 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, brief, found := diagnose(t, site, tt.store, authsvctest.Patient...)
			if diff := cmp.Diff(tt.want, brief); diff != "" || status != tt.status {
				t.Errorf("exit status %d, want %d: %s%+v", status, tt.status, diff, found)
			}
		})
	}
	if n := len(healthy.Dump()); n != 0 {
		t.Errorf("%d keys are left in Redis", n)
	}
	healthy.Pause()
	if status, brief, _ := diagnose(t, site, healthy.URL()); status != 1 || !cmp.Equal(brief, []string{"error redis_unavailable"}) {
		t.Errorf("a frozen Redis: %d %q", status, brief)
	}
}

func TestDoctorSpeaksTLS(t *testing.T) {
	t.Parallel()
	certs := redistest.NewCerts(t)
	server := redistest.StartTLS(t, certs, append([]string{"--maxmemory-policy", "allkeys-lru"}, healthyRedis...)...)
	tls := []string{"--store-ca", certs.CAFile, "--store-cert", certs.ClientCertFile, "--store-key", certs.ClientKeyFile}
	_, brief, found := diagnose(t, authsvctest.NewSite(t), server.TLSURL(), append(tls, authsvctest.Patient...)...)
	if diff := cmp.Diff([]string{"error redis_eviction", "note redis_replicas"}, brief); diff != "" || !strings.Contains(found[0].Fix, " --tls CONFIG SET ") {
		t.Errorf("%s%+v", diff, found)
	}
	_, brief, found = diagnose(t, authsvctest.NewSite(t), server.TLSURL(), authsvctest.Patient...)
	if diff := cmp.Diff([]string{"error redis_unavailable"}, brief); diff != "" || !strings.Contains(found[0].Fix, "--store-ca") {
		t.Errorf("%s%+v", diff, found)
	}
}

// It says how far away Redis is, even if a service with these settings could not use it.
func TestDoctorMeasuresTheDistance(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, healthyRedis...)
	site := authsvctest.NewSite(t)
	for _, tt := range []struct {
		away    time.Duration
		timeout string
		status  int
		want    []string
	}{
		{0, "300ms", 0, []string{"note redis_replicas"}},
		{40 * time.Millisecond, "300ms", 2, []string{"warning redis_distance", "note redis_replicas"}},
		{40 * time.Millisecond, "4s", 0, []string{"note redis_replicas"}},
		{120 * time.Millisecond, "300ms", 1, []string{"error redis_distance", "note redis_replicas"}},
	} {
		p := redistest.NewProxy(t, server.Addr())
		p.Delay(tt.away)
		status, brief, found := diagnose(t, site, p.URL(), "--store-timeout", tt.timeout)
		if diff := cmp.Diff(tt.want, brief); diff != "" || status != tt.status {
			t.Errorf("%v away, with %s: exit status %d, want %d; %s%+v", tt.away, tt.timeout, status, tt.status, diff, found)
		}
	}
}

// The fixes, pasted into a shell, leave nothing to be found.
func TestDoctorsFixesCanBePasted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru", "--repl-diskless-sync-delay", "0")
	host, port, _ := net.SplitHostPort(server.Addr())
	for range 2 {
		replica := redistest.Start(t, "--replicaof", host+" "+port)
		if err := replica.Client().Do(t.Context(), "ACL", "SETUSER", "app", "on", ">pw", "+@all").Err(); err != nil {
			t.Fatal(err)
		}
	}
	redistest.Eventually(t, "the replicas to follow", func() bool {
		return strings.Count(server.Client().Info(t.Context(), "replication").Val(), "state=online") == 2
	})
	for _, command := range []string{
		"ACL SETUSER app on >pw ~other:* +@all -evalsha -pttl -client|setname",
		"SET authsvc:stray 1",
		"SET authsvc:ours 1 EX 3600",
		"SET authsvc:{other} 1",
	} {
		var args []any
		for _, word := range strings.Fields(command) {
			args = append(args, word)
		}
		if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	site := authsvctest.NewSite(t)
	dir := filepath.Dir(site.Keys)
	site.Keys = filepath.Join(dir, "old keys.json")
	if err := keyring.New(time.Now().Add(-100 * 24 * time.Hour)).CreateFile(site.Keys); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{site.Keys, site.Apps} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	seen := map[string]bool{}
	for round := 0; ; round++ {
		status, brief, found := diagnose(t, site, "redis://app:pw@"+server.Addr()+"/0", authsvctest.Patient...)
		if len(found) == 0 {
			break
		}
		if status == 0 && strings.Contains(fmt.Sprint(brief), "warning") || round == 5 {
			t.Fatalf("in round %d: %d %+v", round, status, found)
		}
		for _, f := range found {
			seen[f.Check] = true
			cmd := exec.Command("bash", "-euo", "pipefail", "-c", f.Fix)
			cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(authsvctest.Binary(t))+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "ERR") {
				t.Fatalf("%s: %v\n%s", f.Fix, err, out)
			}
		}
	}
	for _, check := range []string{
		"redis_permissions", "redis_readable", "redis_eviction", "redis_memory", "redis_persistence", "redis_min_replicas",
		"redis_expiry", "keyring_permissions", "keyring_age", "apps_permissions",
	} {
		if !seen[check] {
			t.Errorf("%s was never found", check)
		}
	}
	if ttl := server.Client().PTTL(t.Context(), "authsvc:ours").Val(); ttl > time.Hour {
		t.Errorf("a key with an expiry has another now: %v", ttl)
	}
	if ttl := server.Client().PTTL(t.Context(), "authsvc:{other}").Val(); ttl != -1 {
		t.Errorf("a key that is no grant's has an expiry now: %v", ttl)
	}
}
