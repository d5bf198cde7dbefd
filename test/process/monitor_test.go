package process

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// The log, the metrics and readyz show when a Redis becomes unavailable and when it
// answers again, however it failed, and callers are answered again without a restart.
func TestServeReportsAnUnavailableRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := authsvctest.NewSite(t).Serve(server.URL())
	p := s.Issue(authsvctest.Worker).Pair()
	for i, way := range []struct{ goes, comes func() }{
		{server.Kill, server.Restart},
		{server.Pause, server.Resume},
	} {
		way.goes()
		redistest.Eventually(t, "readyz to fail", func() bool { return !s.Ready() })
		redistest.Eventually(t, "a call to be refused", func() bool { return s.Introspect(p.Access).Status == 503 })
		s.WaitMetric("authsvc_redis_breakers_open 1")
		redistest.Eventually(t, "the log to say so", func() bool {
			return s.Stderr.Count("Redis breaker opened: calls that need this Redis are answered with APIG.0613 until it closes") == i+1
		})
		authsvctest.Want(t, "introspect", s.Introspect(p.Access), 503, "APIG.0613")
		way.comes()
		s.WaitMetric("authsvc_redis_breakers_open 0")
		redistest.Eventually(t, "the log to say that Redis answers again", func() bool { return s.Stderr.Count("Redis breaker closed") == i+1 })
		s.WaitReady()
		redistest.Eventually(t, "the token to be valid again", func() bool { return s.Introspect(p.Access).Active() })
	}
}

// The error that Redis fails with is in the log line of each request, even of one that
// the open breaker refused, and in readyz.
func TestServeNamesWhatRedisFailsWith(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := authsvctest.NewSite(t).Serve(server.URL(), authsvctest.Patient...)
	p := s.Issue(authsvctest.Worker).Pair()
	if err := server.Client().Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	const cause, open = "this Redis is a replica, which may lag behind; the store must be its primary, 127.0.0.1:1", "(the breaker is open: "
	redistest.Eventually(t, "a refused call to be logged with its cause", func() bool {
		s.Introspect(p.Access)
		return strings.Contains(s.Stderr.Text(), cause+" "+open)
	})
	redistest.Eventually(t, "readyz to name it", func() bool {
		res, err := http.Get(s.Admin + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), cause)
	})
	for line := range strings.Lines(s.Stderr.Text()) {
		if strings.Contains(line, open) && !strings.Contains(line, cause) {
			t.Errorf("a refusal without its cause: %s", line)
		}
	}
	// What to do is said in the doctor's words, by what the cause is.
	e := s.Stderr.Event(t, "Redis breaker opened: calls that need this Redis are answered with APIG.0613 until it closes", s.Ended)
	if fix, _ := e["fix"].(string); e["cause"] != cause || !strings.Contains(fix, "Set --store to the host and port of the primary") {
		t.Errorf("the breaker opened for %q; fix: %q", e["cause"], e["fix"])
	}
}

// serveEnds runs a serve that fails to start, and returns its output.
func serveEnds(t *testing.T, site *authsvctest.Site, args ...string) string {
	t.Helper()
	out, err := exec.Command(authsvctest.Binary(t), append([]string{
		"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--apps", site.Apps, "--keys", site.Keys,
	}, args...)...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err == nil || !asExit(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("serve ended with %v:\n%s", err, out)
	}
	return string(out)
}

func asExit(err error, exit **exec.ExitError) (ok bool) {
	*exit, ok = err.(*exec.ExitError)
	return ok
}

// A Redis that may drop live tokens, or does not permit what the service needs, is a
// start-up error that names the fix, and nothing is written to it.
func TestServeRefusesARedis(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	out := serveEnds(t, site, "--store", server.URL())
	for _, want := range []string{"redis_eviction", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction", "--allow-eviction", "Why: "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	insists := site.Serve(server.URL(), append([]string{"--allow-eviction"}, authsvctest.Patient...)...)
	insists.Stderr.Event(t, "Redis: maxmemory-policy is allkeys-lru.", insists.Ended)

	if err := server.Client().Do(t.Context(), "ACL", "SETUSER", "app", "on", ">s3cret-pw", "~authsvc:*", "+@all", "-evalsha").Err(); err != nil {
		t.Fatal(err)
	}
	out = serveEnds(t, site, "--allow-eviction", "--store", "redis://app:s3cret-pw@"+server.Addr())
	if !strings.Contains(out, "redis_permissions") || !strings.Contains(out, "ACL SETUSER app +evalsha") || strings.Contains(out, "s3cret-pw") {
		t.Errorf("it says\n%s", out)
	}
	if n := len(server.Dump()); n != 0 {
		t.Errorf("%d keys were written", n)
	}
}

// In a Cluster, a single node given as the store keeps serve from starting; a primary
// that refuses the login is reported, and the others are used.
func TestServeOnACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	site := authsvctest.NewSite(t)
	out := serveEnds(t, site, "--store", c.Primaries()[0].URL())
	if !strings.Contains(out, "redis_topology") || !strings.Contains(out, "redis+cluster://") {
		t.Errorf("it says\n%s", out)
	}
	for _, server := range c.Servers()[1:] {
		if err := server.Client().Do(t.Context(), "ACL", "SETUSER", "app", "on", ">s3cret-pw", "~authsvc:*", "+@all").Err(); err != nil {
			t.Fatal(err)
		}
	}
	s := site.Serve(strings.Replace(c.URL(), "://", "://app:s3cret-pw@", 1), authsvctest.Patient...)
	redistest.Eventually(t, "a grant on another primary", func() bool { return s.Issue(authsvctest.Worker).Status == 200 })
	s.WaitMetric(`authsvc_redis_check{check="redis_unavailable"} 3`)
	if text := s.Stderr.Text(); !strings.Contains(text, "WRONGPASS") || strings.Contains(text, "s3cret-pw") {
		t.Errorf("the log:\n%s", text)
	}
}

// The same if Redis becomes available only later: until then the process is not ready,
// and then it exits. Nothing is served before Redis was checked.
func TestServeRefusesARedisThatComesLate(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	server.Kill()
	s := authsvctest.NewSite(t).Start(server.URL())
	authsvctest.Want(t, "issue", s.Issue(authsvctest.Worker), 503, "APIG.0613")
	s.Stderr.Event(t, "the token store is unavailable: requests that need it are answered with APIG.0613", s.Ended)
	server.Restart()
	if code := s.WaitEnded(); code != 1 || !strings.Contains(s.Stderr.Text(), "redis_eviction") {
		t.Errorf("exit status %d:\n%s", code, s.Stderr.Text())
	}
	if n := len(server.Dump()); n != 0 {
		t.Errorf("%d keys were written", n)
	}
}

// serve logs the findings of the doctor in the same words.
func TestServeLogsTheDoctorsFindings(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	site := authsvctest.NewSite(t)
	for _, path := range []string{site.Keys, site.Apps} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := exec.Command(authsvctest.Binary(t), append([]string{
		"doctor", "-o", "json", "--store", server.URL(), "--apps", site.Apps, "--keys", site.Keys,
	}, authsvctest.Patient...)...).Output()
	var found []map[string]string
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := site.Serve(server.URL(), authsvctest.Patient...)
	checks := map[string]bool{}
	for _, f := range found {
		msg := f["what"]
		if strings.HasPrefix(f["check"], "redis_") {
			msg = "Redis: " + msg
		}
		e := s.Stderr.Event(t, msg, s.Ended)
		for _, key := range []string{"check", "severity", "subject", "why", "fix"} {
			if e[key] != f[key] {
				t.Errorf("%s: logged %v, found %q", key, e[key], f[key])
			}
		}
		checks[f["check"]] = true
	}
	for _, check := range []string{"keyring_permissions", "apps_permissions", "redis_persistence", "redis_memory"} {
		if !checks[check] {
			t.Errorf("the doctor did not find %s: %s", check, out)
		}
	}
}

// Redis is checked again and again: a new finding is logged once, with its fix, and so
// is that it was fixed; the service keeps running. The metric follows.
func TestServeWatchesRedis(t *testing.T) {
	t.Parallel()
	quick := authsvctest.BuildPatched(t, authsvctest.RedisIsCheckedAllTheTime)
	server := redistest.Start(t, "--maxmemory", "100mb", "--appendonly", "yes", "--appendfsync", "always")
	s := authsvctest.NewSite(t).StartBinary(quick, server.URL())
	s.WaitReady()
	gauge := func(line string) { t.Helper(); s.WaitMetric(line) }
	set := func(name, value string) {
		t.Helper()
		if err := server.Client().ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	gauge(`authsvc_redis_check{check="redis_eviction"} 0`)
	gauge(`authsvc_redis_check{check="redis_replicas"} 1`)
	set("maxmemory-policy", "volatile-lru")
	gauge(`authsvc_redis_check{check="redis_eviction"} 3`)
	set("appendfsync", "everysec")
	gauge(`authsvc_redis_check{check="redis_persistence"} 2`)
	set("maxmemory-policy", "noeviction")
	gauge(`authsvc_redis_check{check="redis_eviction"} 0`)
	e := s.Stderr.Event(t, "Redis: maxmemory-policy is volatile-lru.", s.Ended)
	if e["level"] != "ERROR" || e["check"] != "redis_eviction" || e["subject"] != server.Addr() || !strings.Contains(e["fix"].(string), "noeviction") {
		t.Errorf("logged as %v", e)
	}
	if e := s.Stderr.Event(t, "Redis: fixed", s.Ended); e["check"] != "redis_eviction" {
		t.Errorf("fixed: %v", e)
	}
	for msg, want := range map[string]int{
		"Redis: maxmemory-policy is volatile-lru.": 1, "Redis: fixed": 1, "Redis: It writes to disk once a second (appendfsync everysec).": 1,
	} {
		if n := s.Stderr.Count(msg); n != want {
			t.Errorf("%q was logged %d times, want %d", msg, n, want)
		}
	}
	authsvctest.Want(t, "issue", s.Issue(authsvctest.Worker), 200, "")
}

// The key of a grant is the prefix and 22 characters, and every other begins with a brace
// after it, so that none can be taken for one of the other kind.
func TestServeTellsTheKeysOfGrantsFromOthers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--notify-keyspace-events", "KA")
	events := server.Client().PSubscribe(t.Context(), "__keyspace@*__:*")
	defer events.Close()
	if _, err := events.Receive(t.Context()); err != nil { // it is subscribed
		t.Fatal(err)
	}
	site := authsvctest.NewSite(t)
	s := site.Serve(server.URL(), append([]string{"--store-prefix", "our-own:"}, authsvctest.Patient...)...)
	p := s.Issue(authsvctest.Worker).Pair()
	p = s.Refresh(authsvctest.Worker, p.Refresh).Pair()
	authsvctest.Want(t, "revoke", s.Revoke(authsvctest.Worker, p.Refresh), 200, "")
	if err := server.Client().Set(t.Context(), "the end", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	grant := regexp.MustCompile(`^our-own:[A-Za-z0-9_-]{22}$`)
	grants, others := map[string]bool{}, 0
	for e := range events.Channel() {
		switch _, key, _ := strings.Cut(e.Channel, "__:"); {
		case key == "the end":
			if len(grants) != 1 || others == 0 {
				t.Errorf("grants %v, and %d events of other keys; want one, and some", grants, others)
			}
			return
		case grant.MatchString(key):
			grants[key] = true
		case strings.HasPrefix(key, "our-own:{"):
			others++
		default:
			t.Errorf("the key %s was written", key)
		}
	}
}
