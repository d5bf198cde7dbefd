package redisconn

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"authsvc/internal/redistest"
)

const prefix = "authsvc:"

// options returns those of a Redis at a URL of package redistest, with a user, a
// password or a database that the test put in.
func options(t testing.TB, rawURL string) Options {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Addrs: strings.Split(u.Host, ","), Prefix: prefix, Timeout: 300 * time.Millisecond}
	o.User = u.User.Username()
	o.Password, _ = u.User.Password()
	db := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis+sentinel":
		o.Topology = Sentinel
		o.Primary, db, _ = strings.Cut(db, "/")
	case "redis+cluster":
		o.Topology = Cluster
	}
	if db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func openURL(t testing.TB, url string) *Conn {
	t.Helper()
	return openWith(t, options(t, url))
}

func openWith(t testing.TB, opts Options) *Conn {
	t.Helper()
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// openRaw returns a connection with settings that cannot be had otherwise.
func openRaw(t testing.TB, opts Options, limit int, with func(*redis.UniversalOptions)) *Conn {
	t.Helper()
	o := clientOptions(opts)
	with(o)
	r, err := open(opts, o, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// openPatient returns a connection that waits for a Redis on a busy machine.
func openPatient(t testing.TB, url string) *Conn {
	t.Helper()
	return openRaw(t, options(t, url), queueLimit, patient)
}

func patient(o *redis.UniversalOptions) {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = 10*time.Second, 10*time.Second, 10*time.Second, 10*time.Second
}

// inside returns a context that ends after d.
func inside(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// put sets a key for an hour, if it is not there.
func put(ctx context.Context, r *Conn, key, value string) error {
	_, err := r.Do(ctx, key, Cmd{Args: []any{"SET", key, value, "NX", "PX", 3600_000}})
	return err
}

func get(ctx context.Context, r *Conn, key string) (any, error) {
	return r.Do(ctx, key, Cmd{Args: []any{"GET", key}, Repeatable: true})
}

func del(ctx context.Context, r *Conn, key string) error {
	_, err := r.Do(ctx, key, Cmd{Args: []any{"DEL", key}, Repeatable: true})
	return err
}

// script sets a key for a minute.
var script = NewScript("#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)")

// needs is as those of a store.
func needs(key string) [][]any {
	commands := [][]any{{"SET", key, "check", "NX", "PX", 60_000}, {"GET", key}}
	commands = append(commands, script.Commands(key, "checked")...)
	return append(commands, []any{"DEL", key})
}

func wantUnavailable(t testing.TB, call string, err error) {
	t.Helper()
	if failed := (*Error)(nil); !errors.As(err, &failed) {
		t.Errorf("%s: %v, want an *Error", call, err)
	}
}

// everyCall makes each call, with a context of its own.
func everyCall(t testing.TB, r *Conn, d time.Duration) map[string]error {
	t.Helper()
	const key = prefix + "every"
	_, getErr := get(inside(t, d), r, key)
	_, runErr := r.Run(inside(t, d), script, key, "two")
	_, nowErr := r.Now(inside(t, d))
	return map[string]error{
		"Do, once": put(inside(t, d), r, key, "one"), "Do, repeatable": getErr, "Run": runErr, "Now": nowErr,
		"Do, the last": del(inside(t, d), r, key),
	}
}

func do(t testing.TB, s *redistest.Server, args ...any) any {
	t.Helper()
	reply, err := s.Client().Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return reply
}

// Replies come as Redis gives them, and the nil reply as an error of its own.
func TestReplies(t *testing.T) {
	r := openPatient(t, redistest.Start(t).URL())
	const key = prefix + "reply"
	if _, err := get(t.Context(), r, key); !errors.Is(err, ErrNil) {
		t.Errorf("no such key: %v", err)
	}
	if reply, err := r.Run(t.Context(), script, key, "one"); reply != "OK" || err != nil {
		t.Errorf("Run: %v, %v", reply, err)
	}
	if reply, err := get(t.Context(), r, key); reply != "one" || err != nil {
		t.Errorf("GET: %v, %v", reply, err)
	}
	if reply, err := r.Do(t.Context(), key, Cmd{Args: []any{"DEL", key}}); reply != int64(1) || err != nil {
		t.Errorf("DEL: %v, %v", reply, err)
	}
	_, err := r.Do(t.Context(), key, Cmd{Args: []any{"LPUSH", key}})
	wantUnavailable(t, "LPUSH without an element", err)
}

// Only what is repeatable is sent again.
func TestRepeats(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	r := openURL(t, p.URL())
	const key = prefix + "repeats"
	p.CutReplies(1, redistest.Command("INCR"))
	_, err := r.Do(t.Context(), key, Cmd{Args: []any{"INCR", key}})
	wantUnavailable(t, "once", err)
	p.CutReplies(2, redistest.Command("INCR"))
	reply, err := r.Do(t.Context(), key, Cmd{Args: []any{"INCR", key}, Repeatable: true})
	if reply != int64(4) || err != nil || p.Cut() != 3 {
		t.Errorf("%v, %v after %d lost replies", reply, err, p.Cut())
	}
}

// Sentinels that do not know the primary answer nil as well: that is no reply to the
// command, and no verdict about the key.
func TestSentinelsThatKnowNoPrimary(t *testing.T) {
	t.Parallel()
	trio := redistest.StartTrio(t)
	opts := options(t, trio.URL())
	opts.Primary = "another"
	r := openRaw(t, opts, queueLimit, patient)
	for call, err := range everyCall(t, r, 10*time.Second) {
		wantUnavailable(t, call, err)
		if cause := (*Error)(nil); errors.As(err, &cause) && cause.Reason != UnknownPrimary {
			t.Errorf("%s: %v is %d, want %d", call, err, cause.Reason, UnknownPrimary)
		}
	}
}

// While Redis stands still, callers are let wait only until it is known; then
// they are refused without a command, and nothing piles up.
func TestFrozenShedsCalls(t *testing.T) {
	server := redistest.Start(t)
	events := make(chan error, 10)
	opts := options(t, server.URL())
	opts.OnBreaker = func(_ string, err error, _ time.Time) { events <- err }
	r := openWith(t, opts)
	const key = prefix + "frozen"
	if err := put(t.Context(), r, key, "one"); err != nil {
		t.Fatal(err)
	}
	before := server.Calls("del")
	server.Pause()
	redistest.Eventually(t, "a call to be refused", func() bool {
		err := del(inside(t, 50*time.Millisecond), r, key)
		wantUnavailable(t, "DEL", err)
		return errors.Is(err, ErrBreakerOpen)
	})
	const calls = 10_000
	for range calls {
		if err := del(t.Context(), r, key); !errors.Is(err, ErrBreakerOpen) {
			t.Fatalf("DEL: %v", err)
		}
	}
	if err := <-events; err == nil {
		t.Error("told that the breaker is closed")
	}
	server.Resume()
	redistest.Succeeds(t, "calls to be let through", func(ctx context.Context) error { return del(ctx, r, key) })
	if n := server.Calls("del") - before; n > 100 {
		t.Errorf("%d deletions of %d were sent though the breaker was open", n, calls)
	}
	if err := <-events; err != nil {
		t.Errorf("told %v, want that the breaker is closed", err)
	}
}

// A call heeds its context by itself: here no read ever times out.
func TestFrozenUnderACall(t *testing.T) {
	server := redistest.Start(t)
	r := openRaw(t, options(t, server.URL()), queueLimit, func(o *redis.UniversalOptions) { o.ReadTimeout = time.Hour })
	const key = prefix + "frozen"
	if err := put(t.Context(), r, key, "one"); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	for call, err := range everyCall(t, r, 20*time.Millisecond) {
		wantUnavailable(t, call, err)
	}
	server.Resume() // only now
	if got, err := get(t.Context(), r, key); got != "one" || err != nil {
		t.Errorf("the record is %q, %v", got, err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	server := redistest.Start(t)
	const limit, key = 8, prefix + "queue"
	r := openRaw(t, options(t, server.URL()), limit, func(*redis.UniversalOptions) {})
	server.Pause()
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 2 * limit {
		waiting.Go(func() {
			for ctx.Err() == nil {
				_ = del(ctx, r, key)
			}
		})
	}
	redistest.Eventually(t, "the queue to be full", func() bool {
		// Without a deadline: refused at once, or it waits for Redis.
		err := put(t.Context(), r, key, "one")
		wantUnavailable(t, "SET", err)
		return errors.Is(err, redis.ErrAutoPipelineQueueFull)
	})
	cancel()
	waiting.Wait() // while Redis stands still
	server.Resume()
	redistest.Eventually(t, "the queue to have room", func() bool { return del(t.Context(), r, key) == nil })
}

func TestSettingsKeepARequestInsideItsDeadline(t *testing.T) {
	for _, topology := range []Topology{Single, Sentinel, Cluster} {
		const ms = time.Millisecond
		for timeout, want := range map[time.Duration]timeouts{
			0:                {100 * ms, 500 * ms},
			10 * ms:          {10 * ms, 500 * ms},
			50 * ms:          {50 * ms, 500 * ms},
			300 * ms:         {100 * ms, 500 * ms},
			900 * ms:         {300 * ms, 900 * ms},
			10 * time.Second: {3333333333, 10 * time.Second},
		} {
			opts := Options{Topology: topology, Timeout: timeout}
			o := clientOptions(opts)
			if o.MaxRetries != -1 || o.DialerRetries != 1 || !o.ContextTimeoutEnabled || o.DialTimeout != want.whole ||
				o.ReadTimeout != want.io || o.WriteTimeout != want.io || o.PoolTimeout != want.io {
				t.Errorf("%d, %v: the settings are %+v", topology, timeout, o)
			}
			r, err := Open(opts)
			if err != nil {
				t.Fatal(err)
			}
			b := r.layout
			if topology != Cluster {
				b = &r.only.breaker
			}
			if b.opensAfter != want.whole {
				t.Errorf("%d, %v: a breaker opens after %v", topology, timeout, b.opensAfter)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A Cluster that serves nobody tells no time: the process is not ready, and a
// Cluster without a slot is no Cluster that nothing is wrong with.
func TestClusterThatIsDown(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	for _, server := range c.Servers() {
		do(t, server, "CONFIG", "SET", "cluster-require-full-coverage", "yes", "cluster-replica-no-failover", "yes")
	}
	r := openURL(t, c.URL())
	redistest.Succeeds(t, "the time", func(ctx context.Context) error { _, err := r.Now(ctx); return err })
	lost := c.PrimaryOf(prefix)
	for _, p := range c.Primaries() {
		if p != lost {
			p.Kill() // not the one that tells the time
			break
		}
	}
	redistest.Eventually(t, "no time to be told", func() bool {
		_, err := r.Now(inside(t, time.Second))
		cause := (*Error)(nil)
		return errors.As(err, &cause) && cause.Reason == ClusterDown && strings.Contains(err.Error(), "CLUSTERDOWN")
	})

	empty := openURL(t, "redis+cluster://"+redistest.Start(t, "--cluster-enabled", "yes", "--databases", "1").Addr())
	_, err := empty.Facts(inside(t, 5*time.Second))
	wantUnavailable(t, "Facts of a Cluster without a slot", err)
	_, err = empty.Now(inside(t, time.Second))
	wantUnavailable(t, "Now of a Cluster without a slot", err)
}

func BenchmarkDo(b *testing.B) {
	r := openURL(b, redistest.Start(b).URL())
	key := prefix + "bench"
	if err := put(b.Context(), r, key, string(bytes.Repeat([]byte{'x'}, 150))); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := get(b.Context(), r, key); err != nil {
				b.Error(err)
			}
		}
	})
}
