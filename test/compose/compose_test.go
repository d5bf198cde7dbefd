//go:build compose

package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/redistest"
)

// The long-running services of the compose file, without profiles.
var running = []string{"redis", "authsvc-1", "authsvc-2", "demo", "nginx"}

func TestCompose(t *testing.T) {
	images(t)
	current, old := composes(t)
	for _, compose := range [][]string{current, old} {
		s := stack{t: t, dir: root, compose: compose, env: os.Environ()}
		s.run("config", "-q")
		s.run("--profile", "ha", "--profile", "observability", "config", "-q")
		s.run("--env-file", "deploy/ha.env", "config", "-q")
	}
	t.Run("image", image)
	t.Run("current", func(t *testing.T) { all(newStack(t, root, current)) })
	t.Run("1.29", func(t *testing.T) {
		s := newStack(t, root, old)
		if s.sub("first run", (*stack).firstRun) {
			s.sub("down and up", (*stack).downAndUp)
			s.sub("rolling update", (*stack).rollingUpdate)
		}
	})
}

func all(s *stack) {
	if !s.sub("first run", (*stack).firstRun) {
		return
	}
	s.sub("refusals", (*stack).refusals)
	s.sub("hardened", (*stack).hardened)
	s.sub("commands", (*stack).commands)
	s.sub("down and up", (*stack).downAndUp)
	s.sub("a replica is killed", (*stack).replicaKilled)
	s.sub("a replica is frozen", (*stack).replicaFrozen)
	s.sub("large headers", (*stack).largeHeaders)
	s.sub("both replicas are down", (*stack).replicasStopped)
	s.sub("Redis is killed", (*stack).redisKilled)
	s.sub("rolling update", (*stack).rollingUpdate)
	s.sub("observability", (*stack).observability)
	s.sub("ha", (*stack).ha)
}

// firstRun checks that one command starts everything, and that tokens then work.
func (s *stack) firstRun() {
	s.run("up", "-d")
	s.healthy(running...)
	if c := s.container("init"); c.State.Status != "exited" || c.State.ExitCode != 0 {
		s.t.Errorf("init is %s, status %d", c.State.Status, c.State.ExitCode)
	}
	s.secrets = map[string]string{}
	secrets := s.run("run", "--rm", "-T", "init", "setup", "show", "--dir", "/etc/authsvc")
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):([0-9a-f]{64})\r?$`).FindAllStringSubmatch(secrets, -1) {
		s.secrets[m[1]] = m[2]
	}
	if len(s.secrets) != 2 {
		s.t.Fatalf("setup show prints %d secrets, want 2", len(s.secrets))
	}
	if out, err := s.try("run", "--rm", "init", "setup", "show", "--dir", "/etc/authsvc"); err == nil {
		s.t.Errorf("the secrets are shown twice: %d bytes", len(out))
	}
	s.good(s.issue())
	// The generated secrets are only in their volumes.
	password := s.run("exec", "-T", "redis", "cat", "/etc/authsvc-redis/password")
	said := s.run("logs", "--no-color")
	for _, service := range append(running, "init") {
		c := s.container(service)
		args, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.State.Pid), "cmdline")) // init has exited and has none
		said += docker(s.t, "inspect", c.ID) + string(args)
	}
	for _, secret := range []string{password, s.secrets["first-app"], s.secrets["first-gateway"]} {
		if len(secret) != 64 || strings.Contains(said, secret) {
			s.t.Errorf("a secret of %d characters is in logs, settings or arguments", len(secret))
		}
	}
}

// refusals checks that refusals have their code through nginx, too.
func (s *stack) refusals() {
	p := s.issue()
	s.must("no token", 401, "APIG.0305", "/demo/", "", "", nil)
	s.must("a refresh token", 400, "APIG.2203", "/demo/", "", p.refresh, nil)
	s.must("junk", 400, "APIG.2203", "/demo/", "", "junk", nil)
	s.must("no such path", 404, "APIG.0101", "/nothing", "", "", nil)
	s.must("a wrong secret", 400, "APIG.1009", "/oauth/token", "", "", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"first-app"}, "client_secret": {"wr0ng-Secret"},
	})
	s.must("a large body", 413, "APIG.0201", "/oauth/token", "", "", url.Values{"through_data": {strings.Repeat("x", 100<<10)}})
	s.must("a large header", 494, "APIG.0201", "/oauth/token", "", strings.Repeat("x", 40<<10), nil)
	s.must("nginx's own location", 404, "", "/_authsvc", "", "", nil)
	s.must("revoke", 200, "", "/oauth/revoke", "first-app", "", url.Values{"token": {p.refresh}})
	s.must("revoked", 400, "APIG.2203", "/demo/", "", p.access, nil)
	if log := s.run("logs", "--no-color", "authsvc-1", "authsvc-2"); strings.Contains(log, "203.0.113.9") || !strings.Contains(log, `"client_ip":"`) {
		s.t.Error("authsvc trusts what a caller says about its address")
	}
}

// hardened checks the restrictions of each container and of its process.
func (s *stack) hardened() {
	for _, service := range running {
		c := s.container(service)
		h := c.HostConfig
		if !h.ReadonlyRootfs || strings.Join(h.CapDrop, " ") != "ALL" || strings.Join(h.SecurityOpt, " ") != "no-new-privileges:true" ||
			h.Memory == 0 || h.LogConfig.Type != "json-file" || h.LogConfig.Config["max-size"] == "" || h.LogConfig.Config["max-file"] == "" {
			s.t.Errorf("%s: %+v", service, h)
		}
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.State.Pid), "status"))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, want := range []string{"CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
			if !strings.Contains(string(status), want) {
				s.t.Errorf("%s: no %q in\n%s", service, want, status)
			}
		}
		if regexp.MustCompile(`(?m)^Uid:.*\b0\b`).Match(status) {
			s.t.Errorf("%s runs as root:\n%s", service, status)
		}
	}
	c := s.container("authsvc-1")
	for _, e := range c.Config.Env {
		if limit, ok := strings.CutPrefix(e, "GOMEMLIMIT="); ok && limit == "200MiB" && c.HostConfig.Memory == 256<<20 {
			return
		}
	}
	s.t.Errorf("GOMEMLIMIT does not fit the memory limit, %d: %v", c.HostConfig.Memory, c.Config.Env)
}

// commands runs the commands that operators run in it.
func (s *stack) commands() {
	if out := s.run("exec", "-T", "authsvc-1", "authsvc", "doctor"); !strings.Contains(out, "redis") {
		s.t.Errorf("doctor says %s", out)
	}
	secret := s.run("run", "--rm", "-T", "init", "app", "add", "orders-batch-01", "--scopes", "demo.read")
	s.secrets["orders-batch-01"] = secret[strings.LastIndexByte(secret, '\n')+1:]
	var a answer
	redistest.Eventually(s.t, "both replicas to know the new app", func() bool {
		for range 4 { // they take turns
			var err error
			a, err = s.call("/oauth/token", "orders-batch-01", "", url.Values{"grant_type": {"client_credentials"}})
			if err != nil || a.status != http.StatusOK {
				return false
			}
		}
		return true
	})
	s.must("the new app's call", 200, "", "/demo/", "", a.text("access_token"), nil)

	file := filepath.Join(s.t.TempDir(), "apps.yaml")
	docker(s.t, "cp", s.container("authsvc-1").ID+":/etc/authsvc/apps.yaml", file)
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	frozen := strings.Replace(string(text), `- key: "orders-batch-01"`, "- key: \"orders-batch-01\"\n    state: frozen", 1)
	cmd := s.command("run", "--rm", "-T", "init", "app", "replace")
	cmd.Stdin = strings.NewReader(frozen)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("app replace: %v\n%s", err, out)
	}
	redistest.Eventually(s.t, "the app to be frozen", func() bool {
		a, err := s.call("/oauth/token", "orders-batch-01", "", url.Values{"grant_type": {"client_credentials"}})
		return err == nil && a.text("error_code") == "APIG.0502"
	})

	p := s.issue()
	s.run("run", "--rm", "init", "keys", "rotate", "--now")
	redistest.Eventually(s.t, "a new key to sign", func() bool {
		out := s.run("exec", "-T", "authsvc-1", "authsvc", "keys", "list")
		return regexp.MustCompile(`(?m)^2 +signing`).MatchString(out)
	})
	s.good(p)
	if out := s.run("exec", "-T", "redis", "sh", "/etc/redis/cli.sh", "config", "get", "maxmemory-policy"); !strings.Contains(out, "noeviction") {
		s.t.Errorf("redis-cli says %s", out)
	}
}

// downAndUp checks that down and up keep tokens.
func (s *stack) downAndUp() {
	p := s.issue()
	s.run("down")
	s.run("up", "-d")
	s.healthy(running...)
	s.good(s.good(p))
	if out, err := s.try("run", "--rm", "init", "setup", "show", "--dir", "/etc/authsvc"); err == nil {
		s.t.Errorf("there are new secrets: %d bytes", len(out))
	}
}

// If a replica is killed under load, every caller still gets an answer.
func (s *stack) replicaKilled() {
	s.patientDisk()
	l := s.load()
	for _, service := range []string{"authsvc-1", "authsvc-2"} {
		s.kill(service)
		s.healthy(service)
		s.used(service)
		l.more(20 * callers)
	}
	l.clean()
}

// The same if one hangs with calls in flight.
func (s *stack) replicaFrozen() {
	s.patientDisk()
	l := s.load()
	for _, service := range []string{"authsvc-1", "authsvc-2"} {
		pid := s.container(service).State.Pid
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			s.t.Fatal(err)
		}
		l.more(20 * callers)
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			s.t.Fatal(err)
		}
		s.used(service)
	}
	l.clean()
}

// Answers with many scopes and much through_data fit through nginx, and do not make it
// take a replica out of use.
func (s *stack) largeHeaders() {
	const key = "an-app-with-many-scopes"
	var scopes []string
	for i := range 300 {
		scopes = append(scopes, fmt.Sprintf("scope.%06d", i)) // 3,899 of 4,096 bytes
	}
	out := s.run("run", "--rm", "-T", "init", "app", "add", key, "--scopes", strings.Join(append(scopes, "demo.read"), ","))
	s.secrets[key] = out[strings.LastIndexByte(out, '\n')+1:]
	issue := url.Values{"grant_type": {"client_credentials"}, "through_data": {strings.Repeat("\U0001F511", 300)}}
	var a answer
	redistest.Eventually(s.t, "the app to be known", func() (ok bool) {
		for range 4 { // they take turns
			var err error
			if a, err = s.call("/oauth/token", key, "", issue); err != nil || a.status != http.StatusOK {
				return false
			}
		}
		return true
	})
	for range 20 {
		s.must("verify", 200, "", "/oauth/verify", "", a.text("access_token"), nil)
		s.must("a protected call", 200, "", "/demo/", "", a.text("access_token"), nil)
		s.issue()
	}
}

// used waits until nginx uses a replica again that it had taken out of use.
func (s *stack) used(service string) {
	s.t.Helper()
	id, from := s.container(service).ID, time.Now()
	redistest.Eventually(s.t, service+" to be used again", func() bool {
		said := docker(s.t, "logs", "--since", from.Format(time.RFC3339Nano), id)
		return strings.Count(said, `"msg":"request"`) > 4*callers // more than it had in flight when it was paused
	})
}

// Without any replica, the answer is the row of the table, and recovery is automatic.
func (s *stack) replicasStopped() {
	p := s.issue()
	s.run("stop", "authsvc-1", "authsvc-2")
	for _, path := range []string{"/oauth/token", "/demo/"} {
		a := s.must(path, 503, "APIG.0613", path, "", p.access, nil)
		if a.header.Get("Retry-After") == "" || a.text("request_id") == "" {
			s.t.Errorf("%s: %v %s", path, a.header, a.body)
		}
	}
	for _, service := range []string{"authsvc-1", "authsvc-2"} {
		if c := s.container(service); c.State.ExitCode != 0 {
			s.t.Errorf("%s exited with %d, not after its drain", service, c.State.ExitCode)
		}
	}
	s.run("restart", "nginx") // it starts without them, and finds them
	s.run("start", "authsvc-1", "authsvc-2")
	s.healthy(running...)
	s.good(p)
}

// While Redis is unavailable, the answer is always the same code, and never a verdict;
// what Redis had acknowledged is there when it answers again.
func (s *stack) redisKilled() {
	s.run("exec", "-T", "redis", "sh", "/etc/redis/cli.sh", "config", "set", "appendfsync", "always")
	p, l := s.issue(), s.load()
	s.kill("redis")
	s.healthy("redis", "authsvc-1", "authsvc-2")
	l.more(20 * callers)
	n := l.end()
	for code, times := range l.codes {
		if code != unavailable {
			s.t.Errorf("%d times %s", times, code)
		}
	}
	s.t.Logf("%d calls; refused %v", n, l.codes)
	s.good(p)
}

// An update replaces one replica after the other, and no caller notices.
func (s *stack) rollingUpdate() {
	s.env = append(s.env, "AUTHSVC_VERSION="+s.project+"-next")
	s.run("build", "init")
	s.patientDisk()
	p, l := s.issue(), s.load()
	for _, service := range []string{"authsvc-1", "authsvc-2"} {
		s.run("up", "-d", "--no-deps", service)
		s.healthy(service)
		if out := s.run("exec", "-T", service, "authsvc", "version"); !strings.Contains(out, "authsvc "+s.project+"-next") {
			s.t.Errorf("%s is %s", service, out)
		}
		l.more(50 * callers)
	}
	l.clean()
	s.good(p)
}

// Prometheus scrapes both replicas, and evaluates our rules.
func (s *stack) observability() {
	s.flags = []string{"--profile", "observability"}
	s.run("up", "-d")
	s.healthy(append(running, "prometheus")...)
	prometheus := func(path string) (data struct {
		Data struct {
			ActiveTargets []struct {
				Health string
				Labels map[string]string
			}
			Groups []struct {
				Rules []struct{ Name, Health string }
			}
		}
	},
	) {
		s.t.Helper()
		for _, e := range s.env {
			if port, ok := strings.CutPrefix(e, "PROMETHEUS_PORT="); ok {
				res, err := s.client.Get("http://127.0.0.1:" + port + path)
				if err != nil {
					s.t.Fatal(err)
				}
				defer res.Body.Close()
				if err := json.NewDecoder(res.Body).Decode(&data); err != nil {
					s.t.Fatal(err)
				}
			}
		}
		return data
	}
	redistest.Eventually(s.t, "both replicas to be scraped", func() bool {
		up := 0
		for _, target := range prometheus("/api/v1/targets").Data.ActiveTargets {
			if target.Health == "up" && target.Labels["job"] == "authsvc" {
				up++
			}
		}
		return up == 2
	})
	redistest.Eventually(s.t, "the rules to be evaluated", func() bool {
		rules, good := 0, 0
		for _, g := range prometheus("/api/v1/rules").Data.Groups {
			for _, r := range g.Rules {
				rules++
				if r.Health == "ok" {
					good++
				}
			}
		}
		return rules > 5 && rules == good
	})
	s.run("exec", "-T", "prometheus", "promtool", "check", "rules", "/etc/prometheus/rules.yml")
	s.run("rm", "-fsv", "prometheus")
	s.flags = nil
}

// With replicas and Sentinels, the primary may fail. A stack that ran without them
// keeps its tokens, and the promoted server stays the primary.
func (s *stack) ha() {
	p := s.issue()
	s.flags = []string{"--env-file", "deploy/ha.env"}
	s.run("up", "-d")
	nodes := []string{"redis", "redis-replica-1", "redis-replica-2"}
	s.healthy(append(append(nodes, "sentinel-1", "sentinel-2", "sentinel-3"), running...)...)
	p = s.good(p)
	cli := func(service string, args ...string) string {
		return s.run(append([]string{"exec", "-T", service, "sh", "/etc/redis/cli.sh"}, args...)...)
	}
	redistest.Eventually(s.t, "the replicas to follow", func() bool {
		return strings.Count(cli("redis", "info", "replication"), "state=online") == 2
	})
	redistest.Eventually(s.t, "the Sentinels to know each other and the replicas", func() bool {
		for _, sentinel := range []string{"sentinel-1", "sentinel-2", "sentinel-3"} {
			out := cli(sentinel, "-p", "26379", "sentinel", "master", "authsvc")
			if !field(out, "num-other-sentinels", "2") || !field(out, "num-slaves", "2") {
				return false
			}
		}
		return true
	})
	p = s.refresh(p)
	s.run("stop", "redis")
	s.settled("tokens to be valid at a new primary", p)
	var again answer
	redistest.Eventually(s.t, "the new primary to accept writes", func() bool {
		var err error
		again, err = s.call("/oauth/token", "first-app", "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {p.refresh}})
		return err == nil && again.status == http.StatusOK
	})
	p = pair{again.text("access_token"), again.text("refresh_token")}
	s.settled("both replicas to follow", p)
	p = s.good(p)

	// The old primary comes back as a replica, and nothing that happened meanwhile is
	// undone, not even by a restart of everything.
	s.run("start", "redis")
	redistest.Eventually(s.t, "the old primary to follow the new one", func() bool {
		return strings.Contains(cli("redis", "info", "replication"), "master_link_status:up")
	})
	p = s.good(p)
	s.run("down")
	s.run("up", "-d")
	s.healthy(append(nodes, running...)...)
	s.settled("all to follow again", p)
	if out := cli("redis", "role"); !strings.HasPrefix(out, "slave") {
		s.t.Errorf("after a restart the old primary is %s", out)
	}
	s.good(p)
}

// settled waits until a token is valid at each replica.
func (s *stack) settled(what string, p pair) {
	s.t.Helper()
	redistest.Eventually(s.t, what, func() bool {
		for range 6 { // they take turns
			a, err := s.call("/oauth/introspect", "first-gateway", "", url.Values{"token": {p.access}})
			if err != nil || a.fields["active"] != true {
				return false
			}
		}
		return true
	})
}

// field reports whether a reply of redis-cli, with names and values on separate lines,
// has this value for this name.
func field(reply, name, value string) bool {
	return regexp.MustCompile(`(?m)^` + name + `\r?\n` + value + `\r?$`).MatchString(reply)
}

// The version and revision of the tested image.
const (
	testVersion  = "v0.0.0-test"
	testRevision = "0123456"
)

// built is a binary that was built here, without a cache, as the Dockerfile does it.
type built struct{ binary, cache string }

var builtHere = func() func(t *testing.T) built {
	var b built
	return func(t *testing.T) built {
		t.Helper()
		if b.binary != "" {
			return b
		}
		dir, err := os.MkdirTemp("", "authsvc-compose-") // for all tests
		if err != nil {
			t.Fatal(err)
		}
		b = built{filepath.Join(dir, "authsvc"), filepath.Join(dir, "cache")}
		cmd := exec.Command("go", "build", "-trimpath", "-tags", "nomsgpack", "-buildvcs=false",
			"-ldflags", "-s -w -X authsvc/internal/cli.version="+testVersion+" -X authsvc/internal/cli.revision="+testRevision, "-o", b.binary, "./cmd/authsvc")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOCACHE="+b.cache, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		return b
	}
}()

// image checks what make image builds: the image is small and runs without root, and
// its binary has the same bytes as one built here, in another directory.
func image(t *testing.T) {
	const megabyte = 1_000_000
	const tag = "authsvc:imagetest"
	t.Cleanup(func() { removeImage(tag) })
	cmd := exec.Command("make", "image", "VERSION="+testVersion, "REVISION="+testRevision, "IMAGE="+tag)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	id := docker(t, "create", tag)
	binary := filepath.Join(t.TempDir(), "authsvc")
	docker(t, "cp", id+":/usr/local/bin/authsvc", binary)
	docker(t, "rm", id)
	one, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(builtHere(t).binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Error("two builds give two binaries")
	}
	var found []struct {
		Size   int
		Config struct {
			User                    string
			Entrypoint, Healthcheck any
		}
	}
	if err := json.Unmarshal([]byte(docker(t, "image", "inspect", tag)), &found); err != nil {
		t.Fatal(err)
	}
	size := found[0].Size
	if size > 35*megabyte || found[0].Config.User != "65532:65532" || found[0].Config.Healthcheck == nil {
		t.Errorf("%d bytes, %+v", size, found[0].Config)
	}
	t.Logf("%.1f MB", float64(size)/megabyte)
	version := docker(t, "run", "--rm", "--network", "none", "--read-only", tag, "version")
	if !strings.Contains(version, "authsvc "+testVersion) || !strings.Contains(version, "revision "+testRevision) {
		t.Error(version)
	}
}
