package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	appKey    = "billing-worker" // 14 characters
	appSecret = "b1lling-Secret-0001"
	appScope  = "orders.read orders.write"
	ready     = "http://%s/oauth/token"
)

func main() {
	var (
		authsvc  = flag.String("authsvc", ".bin/authsvc", "the binary to measure")
		rounds   = flag.Int("rounds", 5, "rounds; each measures every server once")
		duration = flag.Duration("duration", 3*time.Second, "duration of one measurement")
		conns    = flag.Int("conns", 64, "connections of the load generator")
		grants   = flag.Int("grants", 100_000, "grants with which to measure the memory of Redis; 0: not measured")
		logLevel = flag.String("log-level", "error", "log level of authsvc, whose log goes to standard error; the baselines log nothing")
		gogc     = flag.String("gogc", "100", "GOGC of every server")
		only     = flag.String("only", "issue,refresh,introspect", "what to measure")
		serve    = flag.String("serve", "", "run a baseline: bare or stock")
		listen   = flag.String("listen", "", "address of a baseline")
		redisURL = flag.String("redis", "", "URL of the Redis of the stock baseline")
	)
	flag.Parse()
	var err error
	switch *serve {
	case "":
		b := bench{rounds: *rounds, duration: *duration, conns: *conns, logLevel: *logLevel, gogc: *gogc}
		err = b.run(*authsvc, strings.Split(*only, ","), *grants)
	case "bare":
		err = serveBare(*listen)
	case "stock":
		err = serveStock(*listen, *redisURL)
	default:
		err = fmt.Errorf("no baseline %q", *serve)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	rounds   int
	duration time.Duration
	conns    int
	logLevel string
	gogc     string

	redis *redis.Client
}

// target is a server under measurement.
type target struct {
	name string
	addr string
	pid  int
}

// sample is one measurement of one server.
type sample struct {
	perSecond      float64
	serverCPU      time.Duration // a request
	redisCPU       time.Duration // a request
	p50, p99       time.Duration
	requests, fail int
}

func (b *bench) run(binary string, ops []string, grants int) (err error) {
	dir, err := os.MkdirTemp("", "authsvc-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var stop []func()
	defer func() {
		for _, f := range slices.Backward(stop) {
			f()
		}
	}()
	start := func(name string, args ...string) (int, error) {
		cmd := exec.Command(name, args...)
		cmd.Stderr = os.Stderr
		cmd.Env = append(os.Environ(), "GOGC="+b.gogc)
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		stop = append(stop, func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd.Process.Pid, nil
	}

	redisAddr := freeAddr()
	_, port, _ := net.SplitHostPort(redisAddr)
	if _, err := start("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--logfile", filepath.Join(dir, "redis.log")); err != nil {
		return err
	}
	b.redis = redis.NewClient(&redis.Options{Addr: redisAddr, DisableIdentity: true})
	defer b.redis.Close()
	for deadline := time.Now().Add(10 * time.Second); b.redis.Ping(context.Background()).Err() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("redis-server does not answer")
		}
	}
	redisURL := "redis://" + redisAddr + "/0"

	apps, keys := filepath.Join(dir, "apps.yaml"), filepath.Join(dir, "keys.json")
	if err := os.WriteFile(apps, []byte(fmt.Sprintf("apps:\n  - key: %s\n    secret: %s\n    scopes: [orders.read, orders.write]\n    roles: [introspect]\n", appKey, appSecret)), 0o600); err != nil {
		return err
	}
	if out, err := exec.Command(binary, "keys", "init", "--keys", keys).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	targets := []target{{name: "bare gin"}, {name: "stock go-oauth2"}, {name: "authsvc"}}
	for i := range targets {
		t := &targets[i]
		t.addr = freeAddr()
		switch i {
		case 0:
			t.pid, err = start(self, "-serve", "bare", "-listen", t.addr)
		case 1:
			t.pid, err = start(self, "-serve", "stock", "-listen", t.addr, "-redis", redisURL)
		case 2:
			t.pid, err = start(binary, "serve", "--listen", t.addr, "--admin-listen", freeAddr(), "--store", redisURL,
				"--apps", apps, "--keys", keys, "--log-level", b.logLevel)
		}
		if err != nil {
			return err
		}
	}
	for _, t := range targets {
		if err := waitFor(t); err != nil {
			return err
		}
	}

	fmt.Printf("%s, %d CPUs, Go %s; %d rounds of %v, %d connections; medians\n\n", runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), strings.TrimPrefix(runtime.Version(), "go"), b.rounds, b.duration, b.conns)
	fmt.Println("| operation | server | requests/s | of bare gin | of stock | server CPU/request | Redis CPU/request | p50 | p99 | failed |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, op := range ops {
		samples := make([][]sample, len(targets))
		for range b.rounds {
			for i, t := range targets {
				s, err := b.measure(op, t)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", op, t.name, err)
				}
				samples[i] = append(samples[i], s)
			}
			if err := b.redis.FlushDB(context.Background()).Err(); err != nil {
				return err
			}
		}
		for i, t := range targets {
			fmt.Println(row(op, t.name, samples[i], samples[0], samples[1]))
		}
	}
	if grants > 0 {
		return b.memory(targets[1:], grants)
	}
	return nil
}

func row(op, name string, s, bare, stock []sample) string {
	failed := 0
	for _, x := range s {
		failed += x.fail
	}
	ratio := func(to []sample) string {
		var r []float64
		for i := range s { // in the same round
			r = append(r, s[i].perSecond/to[i].perSecond)
		}
		return fmt.Sprintf("%.2f", median(r))
	}
	micros := func(f func(sample) time.Duration) string {
		var d []float64
		for _, x := range s {
			d = append(d, float64(f(x))/1e3)
		}
		return fmt.Sprintf("%.0f us", median(d))
	}
	var rate []float64
	for _, x := range s {
		rate = append(rate, x.perSecond)
	}
	return fmt.Sprintf("| %s | %s | %.0f | %s | %s | %s | %s | %s | %s | %d |", op, name, median(rate), ratio(bare), ratio(stock),
		micros(func(s sample) time.Duration { return s.serverCPU }), micros(func(s sample) time.Duration { return s.redisCPU }),
		micros(func(s sample) time.Duration { return s.p50 }), micros(func(s sample) time.Duration { return s.p99 }), failed)
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[len(x)/2] + x[(len(x)-1)/2]) / 2
}

// memory issues grants, refreshes each once, and prints how much memory of Redis each of them takes.
func (b *bench) memory(targets []target, grants int) error {
	ctx := context.Background()
	used := func() (float64, error) {
		info, err := b.redis.Info(ctx, "memory").Result()
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(info, "used_memory:")
		digits, _, _ := strings.Cut(rest, "\r\n")
		return strconv.ParseFloat(digits, 64)
	}
	fmt.Printf("\n| server | bytes of Redis a live grant (%d grants, each refreshed once) |\n|---|---|\n", grants)
	for _, t := range targets {
		if err := b.redis.FlushDB(ctx).Err(); err != nil {
			return err
		}
		before, err := used()
		if err != nil {
			return err
		}
		l := newLoad(t.addr, b.conns)
		for i := range l.first {
			l.first[i] = issue()
		}
		refreshed := make([]bool, b.conns) // what each connection did last
		l.next = func(conn int, answer []byte) []byte {
			refreshed[conn] = !refreshed[conn]
			if refreshed[conn] {
				return refresh(answer)
			}
			return issue()
		}
		if r := l.run(2*grants, time.Hour); r.fail > 0 {
			return fmt.Errorf("%s: %d of %d requests failed", t.name, r.fail, r.requests)
		}
		after, err := used()
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.0f |\n", t.name, (after-before)/float64(grants))
	}
	return b.redis.FlushDB(ctx).Err()
}

// measure loads one server with one operation for a while.
func (b *bench) measure(op string, t target) (sample, error) {
	l, err := b.load(op, t)
	if err != nil {
		return sample{}, err
	}
	cpu0, redis0 := b.cpu(t.pid), b.redisCPU()
	r := l.run(1<<62, b.duration)
	cpu1, redis1 := b.cpu(t.pid), b.redisCPU()
	n := time.Duration(max(1, r.requests))
	return sample{
		perSecond: float64(r.requests) / r.took.Seconds(), serverCPU: (cpu1 - cpu0) / n, redisCPU: (redis1 - redis0) / n,
		p50: r.quantile(.50), p99: r.quantile(.99), requests: r.requests, fail: r.fail,
	}, nil
}

// load returns the load for an operation.
func (b *bench) load(op string, t target) (*load, error) {
	switch op {
	case "issue":
		return newLoad(t.addr, b.conns, issue()), nil
	case "introspect":
		// Cycle through a thousand tokens.
		var requests [][]byte
		for range 1000 {
			a, err := once(t.addr, issue())
			if err != nil {
				return nil, err
			}
			requests = append(requests, post("/oauth/introspect", url.Values{"token": {field(a, "access_token")}}))
		}
		return newLoad(t.addr, b.conns, requests...), nil
	case "refresh":
		// Each connection continues from its own last answer, so each refresh token is
		// used once.
		l := newLoad(t.addr, b.conns, nil)
		l.next = func(_ int, answer []byte) []byte { return refresh(answer) }
		for i := range l.first {
			a, err := once(t.addr, issue())
			if err != nil {
				return nil, err
			}
			l.first[i] = refresh(a)
		}
		return l, nil
	}
	return nil, fmt.Errorf("no operation %q", op)
}

func issue() []byte {
	return tokenRequest(url.Values{"grant_type": {"client_credentials"}, "scope": {appScope}})
}

// refresh returns the refresh of the token in an answer.
func refresh(answer []byte) []byte {
	return tokenRequest(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {field(answer, "refresh_token")}})
}

func tokenRequest(form url.Values) []byte { return post("/oauth/token", form) }

func post(path string, form url.Values) []byte {
	form.Set("client_id", appKey)
	form.Set("client_secret", appSecret)
	body := form.Encode()
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// cpu returns the CPU time that a process has used.
func (b *bench) cpu(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

func (b *bench) redisCPU() time.Duration {
	info, err := b.redis.Info(context.Background(), "cpu").Result()
	if err != nil {
		return 0
	}
	var sum float64
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			x, _ := strconv.ParseFloat(value, 64)
			sum += x
		}
	}
	return time.Duration(sum * float64(time.Second))
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitFor waits until a server issues tokens.
func waitFor(t target) error {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {appKey}, "client_secret": {appSecret}}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		res, err := http.PostForm(fmt.Sprintf(ready, t.addr), form)
		if err != nil {
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer", t.name)
}
