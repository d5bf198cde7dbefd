package process

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
	"strings"
	"sync"
	"syscall"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/pagetest"
	"authsvc/internal/redistest"
)

// The commands that serve --dev prints do the whole round when pasted into a shell.
func TestDevBanner(t *testing.T) {
	t.Parallel()
	s := authsvctest.Start(t, authsvctest.Binary(t), "--dev")
	s.WaitReady()
	var banner string
	redistest.Eventually(t, "the banner", func() bool {
		banner = s.Stdout.Text()
		return strings.Contains(banner, s.URL+"/errors\n")
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
		t.Errorf("the commands print %q:\n%s", got, out)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(readme), "\n```\n")
	shown, _, _ = strings.Cut(shown, "```\n")
	if !pagetest.Pattern(shown).MatchString(strings.ReplaceAll(string(out), "\r\n", "\n")) {
		t.Errorf("the commands print\n%s\nand README.md shows\n%s", out, shown)
	}
}

// The same round with memory and with a real Redis, on both paths.
func TestRound(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"memory", "redis"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			url := "memory://"
			if store == "redis" {
				url = redistest.Start(t).URL()
			}
			s := authsvctest.NewSite(t).Serve(url, authsvctest.Patient...)
			p := s.Issue(authsvctest.Worker, "through_data", "tenant 7").Pair()
			if a := s.Introspect(p.Access); !a.Active() || a.Text("through_data") != "tenant 7" {
				t.Fatalf("introspect: %s", a.Body)
			}
			if a := s.Verify(p.Access, "?scope=orders.write"); a.Status != 200 || a.Header.Get("X-App-Key") != authsvctest.Worker {
				t.Fatalf("verify: %d %s", a.Status, a.Body)
			}
			a := s.MustPost("/v1/apigw/oauth2/token", authsvctest.Worker, "grant_type", "refresh_token", "refresh_token", p.Refresh)
			authsvctest.Want(t, "refresh", a, 200, "")
			next := a.Pair()
			authsvctest.Want(t, "refresh by another app", s.Refresh(authsvctest.Batch, next.Refresh), 401, "APIG.1003")
			authsvctest.Want(t, "wider scope", s.Refresh(authsvctest.Worker, next.Refresh, "scope", "orders.delete"), 400, "APIG.2205")
			authsvctest.Want(t, "revoke", s.Revoke(authsvctest.Worker, next.Refresh), 200, "")
			if s.Introspect(next.Access).Active() || s.Introspect(p.Access).Active() {
				t.Error("a token outlives its grant")
			}
			authsvctest.Want(t, "refresh of a revoked grant", s.Refresh(authsvctest.Worker, next.Refresh), 400, "APIG.2202")
		})
	}
}

// 20 callers on three processes with one Redis: each refresh token has one successor,
// and all callers get it; what one process does, the others see.
func TestThreeProcesses(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	site := authsvctest.NewSite(t)
	var servers [3]*authsvctest.Server
	for i := range servers {
		servers[i] = site.Serve(r.URL(), authsvctest.Patient...)
	}
	p := servers[0].Issue(authsvctest.Worker).Pair()
	for round := range 10 {
		answers := make([]authsvctest.Answer, 20)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				a, err := servers[i%3].Post("/oauth/token", authsvctest.Worker, "grant_type", "refresh_token", "refresh_token", p.Refresh)
				if err != nil {
					t.Error(err)
				}
				answers[i] = a
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a.Status != 200 || a.Pair() != answers[0].Pair() {
				t.Fatalf("round %d: %d %s, another got %s", round, a.Status, a.Body, answers[0].Body)
			}
		}
		p = answers[0].Pair()
	}
	if n := len(redistest.Grants(r.Dump())); n != 1 {
		t.Errorf("one grant takes %d keys", n)
	}
	for _, s := range servers {
		if !s.Introspect(p.Access).Active() {
			t.Error("a process does not see the others' grant")
		}
	}
	authsvctest.Want(t, "revoke", servers[2].Revoke(authsvctest.Worker, p.Access), 200, "")
	for _, s := range servers {
		if s.Introspect(p.Access).Active() {
			t.Error("a process does not see the others' revocation")
		}
	}
}

func isSwap(request []byte) bool { return bytes.Contains(bytes.ToUpper(request), []byte("EVAL")) }

// The reply to a rotation is lost after Redis has done it. If it is lost once or twice,
// the caller does not notice; if it is lost every time, the caller gets 0613, and its
// retry gets the pair of the lost reply.
func TestReplyCutAfterTheWrite(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	proxy := redistest.NewProxy(t, r.Addr())
	site := authsvctest.NewSite(t)
	cut, direct := site.Serve(proxy.URL(), authsvctest.Patient...), site.Serve(r.URL(), authsvctest.Patient...)

	p := cut.Issue(authsvctest.Worker).Pair()
	proxy.CutReplies(1, isSwap)
	a := cut.Refresh(authsvctest.Worker, p.Refresh)
	authsvctest.Want(t, "refresh with one reply lost", a, 200, "")
	if b := direct.Refresh(authsvctest.Worker, p.Refresh); b.Pair() != a.Pair() {
		t.Errorf("the retry gets %s, not %s", b.Body, a.Body)
	}

	p = a.Pair()
	before := proxy.Cut()
	proxy.CutReplies(1000, isSwap)
	authsvctest.Want(t, "refresh with every reply lost", cut.Refresh(authsvctest.Worker, p.Refresh), 503, "APIG.0613")
	if proxy.Cut() == before {
		t.Fatal("no reply was cut")
	}
	proxy.CutReplies(0, nil)
	a = cut.Refresh(authsvctest.Worker, p.Refresh)
	authsvctest.Want(t, "the retry", a, 200, "")
	if b := direct.Refresh(authsvctest.Worker, p.Refresh); b.Pair() != a.Pair() {
		t.Errorf("two retries get %s and %s", a.Body, b.Body)
	}
	if !direct.Introspect(a.Pair().Access).Active() {
		t.Error("the token of the retry is not active")
	}

	// A lost reply to the creation of a grant does not matter: another grant is
	// created.
	proxy.CutReplies(1, func(req []byte) bool { return bytes.Contains(req, []byte("NX")) })
	authsvctest.Want(t, "issue with one reply lost", cut.Issue(authsvctest.Worker), 200, "")
}

// Redis is paused for longer than a request waits, and then continues: the request was
// answered meanwhile, its retry gets a pair, and nothing was deleted.
func TestFrozenRedis(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	s := authsvctest.NewSite(t).Serve(r.URL())
	p := s.Issue(authsvctest.Worker).Pair()
	r.Pause()
	// These return at all only because each request has its own deadline: the
	// store answers nothing until Resume.
	for range 3 {
		authsvctest.Want(t, "refresh", s.Refresh(authsvctest.Worker, p.Refresh), 503, "APIG.0613")
	}
	authsvctest.Want(t, "revoke", s.Revoke(authsvctest.Worker, p.Access), 503, "APIG.0613")
	r.Resume()
	s.WaitReady()
	var a authsvctest.Answer
	redistest.Eventually(t, "a refresh to succeed", func() bool {
		a = s.Refresh(authsvctest.Worker, p.Refresh)
		return a.Status == 200
	})
	if b := s.Refresh(authsvctest.Worker, p.Refresh); b.Pair() != a.Pair() {
		t.Errorf("a retry gets %s, not %s", b.Body, a.Body)
	}
	if !s.Introspect(a.Pair().Access).Active() {
		t.Error("the new token is not active")
	}
	if s.Stderr.Count("refresh_replayed") != 0 || len(redistest.Grants(r.Dump())) != 1 {
		t.Error("the grant was taken for replayed")
	}
	authsvctest.Want(t, "next refresh", s.Refresh(authsvctest.Worker, a.Pair().Refresh), 200, "")
}

// An unavailable store is 0613 on every endpoint, and the process recovers
// automatically, even one that started without its store.
func TestStoreUnavailable(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	proxy := redistest.NewProxy(t, r.Addr())
	site := authsvctest.NewSite(t)
	s := site.Serve(proxy.URL())
	p := s.Issue(authsvctest.Worker).Pair()
	other := s.Issue(authsvctest.Worker).Pair()
	endpoints := func(s *authsvctest.Server) map[string]authsvctest.Answer {
		return map[string]authsvctest.Answer{
			"issue":      s.Issue(authsvctest.Worker),
			"introspect": s.Introspect(p.Access),
			"verify":     s.Verify(p.Access, ""),
			"refresh":    s.Refresh(authsvctest.Worker, p.Refresh),
			"revoke":     s.Revoke(authsvctest.Worker, other.Refresh),
		}
	}
	for name, fail := range map[string]func(bool){"refused": proxy.Refuse, "black hole": proxy.Blackhole} {
		fail(true)
		late := site.Start(proxy.URL())
		for _, s := range []*authsvctest.Server{s, late} {
			for endpoint, a := range endpoints(s) {
				authsvctest.Want(t, name+": "+endpoint, a, 503, "APIG.0613")
				if a.Header.Get("Retry-After") == "" {
					t.Errorf("%s: %s without Retry-After", name, endpoint)
				}
			}
			if s.Ready() {
				t.Errorf("%s: ready without a store", name)
			}
			// Verdicts that need no store are still given.
			authsvctest.Want(t, "junk", s.Verify("nonsense", ""), 400, "APIG.2203")
			authsvctest.Want(t, "wrong grant", s.MustPost("/oauth/token", authsvctest.Worker, "grant_type", "password"), 400, "APIG.2209")
		}
		fail(false)
		for _, s := range []*authsvctest.Server{s, late} {
			s.WaitReady()
			for _, endpoint := range []string{"issue", "introspect", "verify"} {
				redistest.Eventually(t, endpoint+" to recover from "+name, func() bool { return endpoints(s)[endpoint].Status == 200 })
			}
		}
		p, other = s.Issue(authsvctest.Worker).Pair(), s.Issue(authsvctest.Worker).Pair()
	}
}

// After good and bad requests, no secret and no token is in the log, the metrics, an
// error, or anything that Redis holds.
func TestLeaks(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	s := authsvctest.NewSite(t).Serve(r.URL(), append([]string{"--log-level", "debug"}, authsvctest.Patient...)...)
	var hidden []string // must not appear anywhere
	var shown bytes.Buffer
	see := func(a authsvctest.Answer) authsvctest.Answer {
		if a.Status != 200 {
			shown.Write(a.Body)
		}
		for name, values := range a.Header {
			fmt.Fprintln(&shown, name, values)
		}
		return a
	}
	const wrong = "Wr0ng-secret-that-must-not-leak"
	hidden = append(hidden, authsvctest.Secret, wrong)
	live := 0
	for range 5 {
		p := see(s.Issue(authsvctest.Worker, "through_data", "tenant-7")).Pair()
		q := see(s.Refresh(authsvctest.Worker, p.Refresh)).Pair()
		hidden = append(hidden, p.Access, p.Refresh, q.Access, q.Refresh)
		see(s.Introspect(q.Access))
		see(s.Introspect(q.Refresh))
		see(s.Verify(q.Access, ""))
		see(s.Verify(q.Refresh, ""))
		see(s.Verify(q.Access, "?scope=nope"))
		see(s.Verify(q.Access, "?token="+q.Access))
		see(s.Refresh(authsvctest.Batch, q.Refresh))
		see(s.Refresh(authsvctest.Worker, q.Access))
		see(s.Refresh(authsvctest.Worker, q.Refresh[:66]+"A"))
		see(s.Refresh(authsvctest.Worker, q.Refresh, "scope", q.Refresh))
		see(s.Revoke(authsvctest.Batch, q.Access))
		see(s.MustPost("/oauth/token?refresh_token="+q.Refresh, authsvctest.Worker, "grant_type", q.Access))
		see(s.MustPost("/"+q.Access, authsvctest.Worker))
		see(s.MustPost("/oauth/token", authsvctest.Worker, "grant_type", "client_credentials", "client_secret", wrong))
		see(s.MustPost("/oauth/token", wrong, "grant_type", "client_credentials"))
		see(s.MustPost("/oauth/token", "bad id "+wrong, "grant_type", "client_credentials"))
		see(s.MustPost("/oauth/token", authsvctest.Worker, "grant_type", "client_credentials", "through_data", strings.Repeat(wrong, 20)))
		see(s.MustPost("/oauth/token", authsvctest.Worker, "grant_type", "client_credentials", "client_secret", wrong+"\x00"))
		for _, auth := range []string{"Bearer " + wrong, "Basic " + wrong, wrong} {
			req, err := http.NewRequest(http.MethodPost, s.URL+"/oauth/token", strings.NewReader("x="+wrong))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", auth)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("X-Request-Id", q.Access)
			res, err := s.Client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			see(authsvctest.Answer{Status: res.StatusCode, Header: res.Header, Body: body})
		}
		live++
	}
	last := see(s.Verify("nonsense", "")).Header.Get("X-Request-Id")
	redistest.Eventually(t, "the log of the last request", func() bool { return strings.Contains(s.Stderr.Text(), last) })
	places := map[string]string{"log": s.Stderr.Text(), "standard output": s.Stdout.Text(), "metrics": s.Metrics(), "answers": shown.String()}
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
	if !strings.Contains(places["Redis"], authsvctest.Worker) || !strings.Contains(places["log"], "APIG.2205") || len(hidden) != 2+4*live {
		t.Fatal("the places that are searched are empty")
	}
	for place, text := range places {
		for _, h := range hidden {
			// A token without its prefix, or most of a token, would be a leak, too.
			if core := h[3 : len(h)-3]; strings.Contains(text, core) {
				t.Errorf("the %s holds a secret or a token (%s...)", place, h[:3])
			}
		}
	}
}

// The apps file is reloaded when it changes, whole or not at all.
func TestAppsFileChanges(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	s := site.Serve("memory://")
	p := s.Issue(authsvctest.Worker).Pair()

	site.WriteApps(strings.Replace(authsvctest.AppsYAML, "scopes: [orders.read, orders.write]", "state: frozen", 1))
	redistest.Eventually(t, "the app to be frozen", func() bool { return s.Issue(authsvctest.Worker).Text("error_code") == "APIG.0502" })
	authsvctest.Want(t, "verify", s.Verify(p.Access, ""), 405, "APIG.0502")

	for _, broken := range []string{"", "apps: []\n", authsvctest.AppsYAML + "  - key: x\n"} {
		n := s.Stderr.Count("a changed file was refused; the previous version stays in use")
		site.WriteApps(broken)
		redistest.Eventually(t, "the broken file to be refused", func() bool {
			return s.Stderr.Count("a changed file was refused; the previous version stays in use") > n
		})
		authsvctest.Want(t, "issue", s.Issue(authsvctest.Worker), 405, "APIG.0502")
	}

	site.WriteApps(strings.Replace(authsvctest.AppsYAML, "    roles: [introspect]\n", "    roles: [introspect]\n  - key: another-app\n    secret: b1lling-Secret-0001\n", 1))
	redistest.Eventually(t, "the new app", func() bool { return s.Issue("another-app").Status == 200 })
	if !s.Introspect(p.Access).Active() {
		t.Error("freezing an app changed its grant")
	}

	site.WriteApps(strings.Replace(authsvctest.AppsYAML, "key: billing-worker", "key: billing-worker\n    generation: 1", 1))
	redistest.Eventually(t, "the tokens of the app to be revoked", func() bool { return !s.Introspect(p.Access).Active() })
	authsvctest.Want(t, "refresh", s.Refresh(authsvctest.Worker, p.Refresh), 400, "APIG.2202")
	if !s.Introspect(s.Issue(authsvctest.Worker).Pair().Access).Active() {
		t.Error("the app gets no new tokens")
	}
}

// A keyring that lacks a key in use is refused, and so is one that is damaged.
func TestKeyringChanges(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	s := site.Serve("memory://")
	p := s.Issue(authsvctest.Worker).Pair()
	good, err := os.ReadFile(site.Keys)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(authsvctest.NewSite(t).Keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, bad := range [][]byte{foreign, good[:len(good)/2], nil} {
		if err := os.WriteFile(site.Keys, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, "the keyring to be refused", func() bool {
			return s.Stderr.Count("a changed file was refused; the previous version stays in use") == i+1
		})
		if !s.Introspect(p.Access).Active() || s.Issue(authsvctest.Worker).Status != 200 {
			t.Error("a bad keyring was accepted")
		}
	}
}

// TLS at authsvc, with a certificate that is replaced while the process runs.
func TestTLS(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	first, second := redistest.NewCerts(t), redistest.NewCerts(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	first.InstallServer(t, cert, key)
	s := site.Serve("memory://", "--tls-cert", cert, "--tls-key", key)
	get := func(c *redistest.Certs) error {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		res, err := client.Get(s.URL + "/.well-known/oauth-authorization-server")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if res.ProtoMajor != 2 || !strings.Contains(string(body), `"issuer":"`+s.URL+`"`) {
			t.Errorf("%s %s", res.Proto, body)
		}
		return err
	}
	if err := get(first); err != nil {
		t.Fatal(err)
	}
	second.InstallServer(t, cert, key)
	redistest.Eventually(t, "the new certificate", func() bool { return get(second) == nil })
	if get(first) == nil {
		t.Error("the old certificate is still served")
	}
}

// On SIGTERM, readyz fails, answers ask clients to close their connections, new
// requests are still answered, and requests in flight finish.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := authsvctest.NewSite(t).Serve("memory://", "--drain", "10s")
	keepAlive := s.Issue(authsvctest.Worker)
	if keepAlive.Header.Get("Connection") != "" {
		t.Error("an answer asks the client to close its connection too early")
	}
	// A request that has begun: its head was sent, its body was not.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "grant_type=client_credentials&client_id=" + authsvctest.Worker + "&client_secret=" + authsvctest.Secret
	fmt.Fprintf(conn, "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:10])

	s.Signal(syscall.SIGTERM)
	s.Stderr.Event(t, "stopping", s.Ended)
	if s.Ready() {
		t.Error("still ready")
	}
	res, err := s.Client.Get(s.URL + "/errors")
	if err != nil {
		t.Fatalf("a new request is not answered: %v", err)
	}
	res.Body.Close()
	if !res.Close {
		t.Error("an answer does not ask the client to close its connection")
	}
	s.Signal(syscall.SIGTERM) // the second ends the wait for balancers
	redistest.Eventually(t, "the listener to close", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
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
	if code := s.WaitEnded(); code != 0 {
		t.Errorf("exit status %d:\n%s", code, s.Stderr.Text())
	}
}

// The process stays under 300 MiB with 100 clients that send 12 MiB at once. The binary
// is built as for production: the race detector needs several times the memory.
func TestManyLargeBodies(t *testing.T) {
	site := authsvctest.NewSite(t)
	s := authsvctest.Start(t, authsvctest.BuildPlain(t), "--store", "memory://", "--apps", site.Apps, "--keys", site.Keys,
		"--store-timeout", "10s") // 100 parsers on few cores delay each other, which is not what is tested
	s.WaitReady()
	form := "grant_type=client_credentials&client_id=" + authsvctest.Worker + "&client_secret=" + authsvctest.Secret + "&pad="
	pad := bytes.Repeat([]byte("x"), 12<<20-len(form))
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			res, err := s.Client.Post(s.URL+"/oauth/token", "application/x-www-form-urlencoded", io.MultiReader(strings.NewReader(form), bytes.NewReader(pad)))
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
	peak := s.PeakMemory() >> 20
	t.Logf("peak of %d MiB", peak)
	if peak > 300 {
		t.Errorf("peak of %d MiB", peak)
	}
}

// A client that never finishes the head of its request is cut off, and does not hold up
// others meanwhile.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	s := authsvctest.NewSite(t).Serve("memory://")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /oauth/token HTTP/1.1\r\nHost: x\r\n")
	authsvctest.Want(t, "another client", s.Issue(authsvctest.Worker), 200, "")
	if got, err := io.ReadAll(conn); err != nil || bytes.Contains(got, []byte("200")) {
		t.Errorf("%v\n%s", err, got)
	}
}
