package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"authsvc/internal/redistest"
)

// What serve --dev prints does the whole round, pasted into a shell.
func TestDevBanner(t *testing.T) {
	t.Parallel()
	s := start(t, os.Args[0], "--dev")
	s.waitReady()
	var banner string
	redistest.Eventually(t, "the banner", func() bool {
		banner = s.stdout.text()
		return strings.Contains(banner, s.url+"/errors\n")
	})
	if !strings.Contains(banner, "NOTHING SURVIVES") {
		t.Errorf("no warning in the banner:\n%s", banner)
	}
	var lines []string
	for l := range strings.Lines(banner) {
		if !strings.HasPrefix(l, " ") {
			lines = append(lines, l)
		}
	}
	out, err := exec.Command("bash", "-euc", strings.Join(lines, "")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := regexp.MustCompile(`"access_token":"at_|"active":true|X-App-Key: demo-app|"through_data":"tenant-7"|\{\}|"error_code":"APIG.2203"`).FindAllString(string(out), -1); strings.Join(got, " ") !=
		`"access_token":"at_ "active":true "through_data":"tenant-7" X-App-Key: demo-app "access_token":"at_ {} "error_code":"APIG.2203"` {
		t.Errorf("the lines print %q:\n%s", got, out)
	}
}

// The same round against memory and a real Redis, on both paths.
func TestRound(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"memory", "redis"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			url := "memory://"
			if store == "redis" {
				url = redistest.Start(t).URL()
			}
			s := newSite(t).serve(url)
			p := s.issue(worker, "through_data", "tenant 7").pair()
			if a := s.introspect(p.access); !a.active() || a.text("through_data") != "tenant 7" {
				t.Fatalf("introspect: %s", a.body)
			}
			if a := s.verify(p.access, "?scope=orders.write"); a.status != 200 || a.header.Get("X-App-Key") != worker {
				t.Fatalf("verify: %d %s", a.status, a.body)
			}
			a := s.mustPost("/v1/apigw/oauth2/token", worker, "grant_type", "refresh_token", "refresh_token", p.refresh)
			want(t, "refresh", a, 200, "")
			next := a.pair()
			want(t, "refresh by another app", s.refresh(batch, next.refresh), 401, "APIG.1003")
			want(t, "wider scope", s.refresh(worker, next.refresh, "scope", "orders.delete"), 400, "APIG.2205")
			want(t, "revoke", s.revoke(worker, next.refresh), 200, "")
			if s.introspect(next.access).active() || s.introspect(p.access).active() {
				t.Error("a token outlives its grant")
			}
			want(t, "refresh of a revoked grant", s.refresh(worker, next.refresh), 400, "APIG.2202")
		})
	}
}

// 20 callers on three processes, one Redis: one successor a refresh token, and
// all are told the same; what one process does, the others see.
func TestThreeProcesses(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	site := newSite(t)
	var servers [3]*server
	for i := range servers {
		servers[i] = site.serve(r.URL())
	}
	p := servers[0].issue(worker).pair()
	for round := range 10 {
		answers := make([]answer, 20)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				a, err := servers[i%3].post("/oauth/token", worker, "grant_type", "refresh_token", "refresh_token", p.refresh)
				if err != nil {
					t.Error(err)
				}
				answers[i] = a
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a.status != 200 || a.pair() != answers[0].pair() {
				t.Fatalf("round %d: %d %s, another got %s", round, a.status, a.body, answers[0].body)
			}
		}
		p = answers[0].pair()
	}
	if n := len(r.Dump()); n != 1 {
		t.Errorf("one grant takes %d keys", n)
	}
	for _, s := range servers {
		if !s.introspect(p.access).active() {
			t.Error("a process does not see the others' grant")
		}
	}
	want(t, "revoke", servers[2].revoke(worker, p.access), 200, "")
	for _, s := range servers {
		if s.introspect(p.access).active() {
			t.Error("a process does not see the others' revocation")
		}
	}
}

func isSwap(request []byte) bool { return bytes.Contains(bytes.ToUpper(request), []byte("EVAL")) }

// The reply to a rotation is lost after Redis has done it. Lost once or twice,
// the caller does not notice; lost each time, it is told 0613, and its retry gets
// the pair that the lost reply would have brought.
func TestReplyCutAfterTheWrite(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	proxy := redistest.NewProxy(t, r.Addr())
	site := newSite(t)
	cut, direct := site.serve(proxy.URL(), "--store-timeout", "5s"), site.serve(r.URL())

	p := cut.issue(worker).pair()
	proxy.CutReplies(1, isSwap)
	a := cut.refresh(worker, p.refresh)
	want(t, "refresh with one reply lost", a, 200, "")
	if b := direct.refresh(worker, p.refresh); b.pair() != a.pair() {
		t.Errorf("the retry gets %s, not %s", b.body, a.body)
	}

	p = a.pair()
	before := proxy.Cut()
	proxy.CutReplies(1000, isSwap)
	want(t, "refresh with every reply lost", cut.refresh(worker, p.refresh), 503, "APIG.0613")
	if proxy.Cut() == before {
		t.Fatal("no reply was cut")
	}
	proxy.CutReplies(0, nil)
	a = cut.refresh(worker, p.refresh)
	want(t, "the retry", a, 200, "")
	if b := direct.refresh(worker, p.refresh); b.pair() != a.pair() {
		t.Errorf("two retries get %s and %s", a.body, b.body)
	}
	if !direct.introspect(a.pair().access).active() {
		t.Error("the token of the retry is not active")
	}

	// A lost reply to the creation of a grant costs nothing: another is made.
	proxy.CutReplies(1, func(req []byte) bool { return bytes.Contains(req, []byte("NX")) })
	want(t, "issue with one reply lost", cut.issue(worker), 200, "")
}

// Redis is stopped for longer than a request waits, and goes on: the request was
// answered meanwhile, its retry gets a pair, and nothing was deleted.
func TestFrozenRedis(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	s := newSite(t).serve(r.URL())
	p := s.issue(worker).pair()
	r.Pause()
	// These return at all only because each request has its own deadline: the
	// store answers nothing until Resume.
	for range 3 {
		want(t, "refresh", s.refresh(worker, p.refresh), 503, "APIG.0613")
	}
	want(t, "revoke", s.revoke(worker, p.access), 503, "APIG.0613")
	r.Resume()
	s.waitReady()
	var a answer
	redistest.Eventually(t, "a refresh to succeed", func() bool {
		a = s.refresh(worker, p.refresh)
		return a.status == 200
	})
	if b := s.refresh(worker, p.refresh); b.pair() != a.pair() {
		t.Errorf("a repetition gets %s, not %s", b.body, a.body)
	}
	if !s.introspect(a.pair().access).active() {
		t.Error("the new token is not active")
	}
	if s.stderr.count("refresh_replayed") != 0 || len(r.Dump()) != 1 {
		t.Error("the grant was taken for replayed")
	}
	want(t, "next refresh", s.refresh(worker, a.pair().refresh), 200, "")
}

// The store out of reach is 0613 on every endpoint, and the process recovers by
// itself; one that starts without its store does too.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	proxy := redistest.NewProxy(t, r.Addr())
	site := newSite(t)
	s := site.serve(proxy.URL())
	p := s.issue(worker).pair()
	other := s.issue(worker).pair()
	endpoints := func(s *server) map[string]answer {
		return map[string]answer{
			"issue":      s.issue(worker),
			"introspect": s.introspect(p.access),
			"verify":     s.verify(p.access, ""),
			"refresh":    s.refresh(worker, p.refresh),
			"revoke":     s.revoke(worker, other.refresh),
		}
	}
	for name, away := range map[string]func(bool){"refused": proxy.Refuse, "black hole": proxy.Blackhole} {
		away(true)
		late := start(t, os.Args[0], "--store", proxy.URL(), "--apps", site.apps, "--keys", site.keys)
		for _, s := range []*server{s, late} {
			for endpoint, a := range endpoints(s) {
				want(t, name+": "+endpoint, a, 503, "APIG.0613")
				if a.header.Get("Retry-After") == "" {
					t.Errorf("%s: %s without Retry-After", name, endpoint)
				}
			}
			if s.ready() {
				t.Errorf("%s: ready without a store", name)
			}
			// What needs no store is still told.
			want(t, "junk", s.verify("nonsense", ""), 400, "APIG.2203")
			want(t, "wrong grant", s.mustPost("/oauth/token", worker, "grant_type", "password"), 400, "APIG.2209")
		}
		away(false)
		for _, s := range []*server{s, late} {
			s.waitReady()
			for _, endpoint := range []string{"issue", "introspect", "verify"} {
				redistest.Eventually(t, endpoint+" to recover from "+name, func() bool { return endpoints(s)[endpoint].status == 200 })
			}
		}
		p, other = s.issue(worker).pair(), s.issue(worker).pair()
	}
}

// After good requests and bad, no secret and no token stands in the log, the
// metrics, an error, or anything that Redis holds.
func TestLeaks(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	s := newSite(t).serve(r.URL(), "--log-level", "debug")
	var hidden []string // must stand nowhere
	var shown bytes.Buffer
	see := func(a answer) answer {
		if a.status != 200 {
			shown.Write(a.body)
		}
		for name, values := range a.header {
			fmt.Fprintln(&shown, name, values)
		}
		return a
	}
	const wrong = "Wr0ng-secret-that-must-not-leak"
	hidden = append(hidden, secret, wrong)
	live := 0
	for range 5 {
		p := see(s.issue(worker, "through_data", "tenant-7")).pair()
		q := see(s.refresh(worker, p.refresh)).pair()
		hidden = append(hidden, p.access, p.refresh, q.access, q.refresh)
		see(s.introspect(q.access))
		see(s.introspect(q.refresh))
		see(s.verify(q.access, ""))
		see(s.verify(q.refresh, ""))
		see(s.verify(q.access, "?scope=nope"))
		see(s.verify(q.access, "?token="+q.access))
		see(s.refresh(batch, q.refresh))
		see(s.refresh(worker, q.access))
		see(s.refresh(worker, q.refresh[:66]+"A"))
		see(s.refresh(worker, q.refresh, "scope", q.refresh))
		see(s.revoke(batch, q.access))
		see(s.mustPost("/oauth/token?refresh_token="+q.refresh, worker, "grant_type", q.access))
		see(s.mustPost("/"+q.access, worker))
		see(s.mustPost("/oauth/token", worker, "grant_type", "client_credentials", "client_secret", wrong))
		see(s.mustPost("/oauth/token", wrong, "grant_type", "client_credentials"))
		see(s.mustPost("/oauth/token", "bad id "+wrong, "grant_type", "client_credentials"))
		see(s.mustPost("/oauth/token", worker, "grant_type", "client_credentials", "through_data", strings.Repeat(wrong, 20)))
		see(s.mustPost("/oauth/token", worker, "grant_type", "client_credentials", "client_secret", wrong+"\x00"))
		for _, auth := range []string{"Bearer " + wrong, "Basic " + wrong, wrong} {
			req, err := http.NewRequest(http.MethodPost, s.url+"/oauth/token", strings.NewReader("x="+wrong))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", auth)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("X-Request-Id", q.access)
			res, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			see(answer{res.StatusCode, res.Header, body})
		}
		live++
	}
	res, err := s.client.Get(s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]string{"log": s.stderr.text(), "standard output": s.stdout.text(), "metrics": string(metrics), "answers": shown.String()}
	records := r.Dump()
	if len(records) != live {
		t.Errorf("%d keys in Redis for %d grants", len(records), live)
	}
	var dump strings.Builder
	for _, rec := range records {
		dump.WriteString(rec.Key + " ")
		dump.Write(rec.Value)
	}
	places["Redis"] = dump.String()
	if !strings.Contains(places["Redis"], worker) || !strings.Contains(places["log"], "APIG.2205") || len(hidden) != 2+4*live {
		t.Fatal("the places that are searched hold nothing")
	}
	for place, text := range places {
		for _, h := range hidden {
			// A token without its kind, or most of it, would do as well.
			if core := h[3 : len(h)-3]; strings.Contains(text, core) {
				t.Errorf("the %s holds a secret or a token (%s...)", place, h[:3])
			}
		}
	}
}

// The apps file is read again when it changes, whole or not at all.
func TestAppsFileChanges(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	s := site.serve("memory://")
	p := s.issue(worker).pair()

	site.writeApps(strings.Replace(appsYAML, "scopes: [orders.read, orders.write]", "state: frozen", 1))
	redistest.Eventually(t, "the app to be frozen", func() bool { return s.issue(worker).text("error_code") == "APIG.0502" })
	want(t, "verify", s.verify(p.access, ""), 405, "APIG.0502")

	for _, broken := range []string{"", "apps: []\n", appsYAML + "  - key: x\n"} {
		n := s.stderr.count("a changed file was refused; what was read before stays in use")
		site.writeApps(broken)
		redistest.Eventually(t, "the broken file to be refused", func() bool {
			return s.stderr.count("a changed file was refused; what was read before stays in use") > n
		})
		want(t, "issue", s.issue(worker), 405, "APIG.0502")
	}

	site.writeApps(strings.Replace(appsYAML, "    roles: [introspect]\n", "    roles: [introspect]\n  - key: another-app\n    secret: b1lling-Secret-0001\n", 1))
	redistest.Eventually(t, "the new app", func() bool { return s.issue("another-app").status == 200 })
	if !s.introspect(p.access).active() {
		t.Error("freezing an app touched its grant")
	}

	site.writeApps(strings.Replace(appsYAML, "key: billing-worker", "key: billing-worker\n    generation: 1", 1))
	redistest.Eventually(t, "the tokens of the app to be revoked", func() bool { return !s.introspect(p.access).active() })
	want(t, "refresh", s.refresh(worker, p.refresh), 400, "APIG.2202")
	if !s.introspect(s.issue(worker).pair().access).active() {
		t.Error("the app gets no new tokens")
	}
}

// A keyring that lacks a key in use is refused, and so is one that is damaged.
func TestKeyringChanges(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	s := site.serve("memory://")
	p := s.issue(worker).pair()
	other := filepath.Join(t.TempDir(), "other.json")
	if status := run([]string{"keys", "init", "--keys", other}, process{stdout: io.Discard, stderr: os.Stderr}); status != 0 {
		t.Fatal(status)
	}
	good, err := os.ReadFile(site.keys)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for i, bad := range [][]byte{foreign, good[:len(good)/2], nil} {
		if err := os.WriteFile(site.keys, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, "the keyring to be refused", func() bool {
			return s.stderr.count("a changed file was refused; what was read before stays in use") == i+1
		})
		if !s.introspect(p.access).active() || s.issue(worker).status != 200 {
			t.Error("a bad keyring was taken")
		}
	}
}

// Own TLS, with a certificate that is replaced while the process runs.
func TestTLS(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	first, second := redistest.NewCerts(t), redistest.NewCerts(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	install := func(c *redistest.Certs) {
		for from, to := range map[string]string{c.ServerCertFile: cert, c.ServerKeyFile: key} {
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	install(first)
	s := site.serve("memory://", "--tls-cert", cert, "--tls-key", key)
	get := func(c *redistest.Certs) error {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		res, err := client.Get(s.url + "/.well-known/oauth-authorization-server")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if res.ProtoMajor != 2 || !strings.Contains(string(body), `"issuer":"`+s.url+`"`) {
			t.Errorf("%s %s", res.Proto, body)
		}
		return err
	}
	if err := get(first); err != nil {
		t.Fatal(err)
	}
	install(second)
	redistest.Eventually(t, "the new certificate", func() bool { return get(second) == nil })
	if get(first) == nil {
		t.Error("the old certificate is still shown")
	}
}

// On SIGTERM readyz fails, answers ask for their connection to be closed, new
// requests are still answered, and what is in flight finishes.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := newSite(t).serve("memory://", "--drain", "10s")
	keepAlive := s.issue(worker)
	if keepAlive.header.Get("Connection") != "" {
		t.Error("an answer asks for its connection to be closed before its time")
	}
	// A request that has begun: its head is there, its body is not.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "grant_type=client_credentials&client_id=" + worker + "&client_secret=" + secret
	fmt.Fprintf(conn, "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:10])

	s.signal(syscall.SIGTERM)
	s.stderr.event(t, "stopping", s.ended)
	if s.ready() {
		t.Error("still ready")
	}
	res, err := s.client.Get(s.url + "/errors")
	if err != nil {
		t.Fatalf("a new request is not answered: %v", err)
	}
	res.Body.Close()
	if !res.Close {
		t.Error("an answer does not ask for its connection to be closed")
	}
	s.signal(syscall.SIGTERM) // the second ends the wait for balancers
	redistest.Eventually(t, "the listener to close", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	fmt.Fprint(conn, body[10:])
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 200 OK")) || !bytes.Contains(got, []byte("access_token")) || !bytes.Contains(got, []byte("Connection: close")) {
		t.Errorf("the request in flight: %v\n%s", err, got)
	}
	<-s.ended
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d:\n%s", code, s.stderr.text())
	}
}

// 100 clients that send 12 MiB at once leave the process under 300 MiB. The
// binary is built as it is for use: the race detector takes several times the
// memory.
func TestManyLargeBodies(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "authsvc")
	if out, err := exec.Command("go", "build", "-tags", "nomsgpack", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	site := newSite(t)
	s := start(t, binary, "--store", "memory://", "--apps", site.apps, "--keys", site.keys)
	s.waitReady()
	form := "grant_type=client_credentials&client_id=" + worker + "&client_secret=" + secret + "&pad="
	pad := bytes.Repeat([]byte("x"), 12<<20-len(form))
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			res, err := s.client.Post(s.url+"/oauth/token", "application/x-www-form-urlencoded", io.MultiReader(strings.NewReader(form), bytes.NewReader(pad)))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Errorf("status %d", res.StatusCode)
			}
		})
	}
	wg.Wait()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kib, _ := strconv.Atoi(string(m[1]))
	t.Logf("peak of %d MiB", kib>>10)
	if kib > 300<<10 {
		t.Errorf("peak of %d MiB", kib>>10)
	}
}

// A client that never finishes its request's head is cut off, and holds nobody
// else up meanwhile.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	s := newSite(t).serve("memory://")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /oauth/token HTTP/1.1\r\nHost: x\r\n")
	want(t, "another client", s.issue(worker), 200, "")
	if got, err := io.ReadAll(conn); err != nil || bytes.Contains(got, []byte("200")) {
		t.Errorf("%v\n%s", err, got)
	}
}
