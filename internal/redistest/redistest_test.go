package redistest

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// put writes a key to a server, and waits until this many replicas have it.
func put(t *testing.T, s *Server, key string, replicas int) {
	t.Helper()
	conn := s.Client().Conn()
	defer conn.Close()
	if err := conn.Set(t.Context(), key, "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the replicas to have a key", func() bool {
		n, err := conn.Wait(t.Context(), replicas, 0).Result()
		return err == nil && int(n) >= replicas
	})
}

// has reports whether a server has a key.
func has(s *Server, key string) bool {
	for _, r := range s.Dump() {
		if r.Key == key && bytes.Contains(r.Value, []byte("value")) {
			return true
		}
	}
	return false
}

func TestServer(t *testing.T) {
	t.Parallel()
	s := Start(t, "--requirepass", "secret")
	opts, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	defer c.Close()
	text := bytes.Repeat([]byte("compressible "), 100)
	if err := c.Set(t.Context(), "string", text, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.HSet(t.Context(), "hash", "field", text).Err(); err != nil {
		t.Fatal(err)
	}
	dump := s.Dump()
	if len(dump) != 2 || !bytes.Contains(dump[0].Value, text) || !bytes.Contains(dump[1].Value, text) {
		t.Errorf("the dump of two keys is %+v", dump)
	}
	if n := s.Calls("set"); n != 1 {
		t.Errorf("%d SET, want 1", n)
	}

	s.Pause()
	answered := make(chan error, 1)
	go func() { answered <- c.Ping(t.Context()).Err() }()
	s.Resume()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	s.Pause()
	s.Restart() // kills it, although it is paused
	if dump := s.Dump(); len(dump) != 0 {
		t.Errorf("after a restart it holds %+v", dump)
	}
	s.Pause() // the cleanup must cope with that
}

func TestServerKeepsWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	s := Start(t, "--appendonly", "yes", "--appendfsync", "always")
	put(t, s, "key", 0)
	s.Kill()
	s.Restart()
	if !has(s, "key") {
		t.Error("the key is lost")
	}
}

func TestServerRollsBack(t *testing.T) {
	t.Parallel()
	s := Start(t)
	put(t, s, "before", 0)
	then := s.Snapshot()
	put(t, s, "after", 0)
	s.Rollback(then)
	if !has(s, "before") || has(s, "after") {
		t.Errorf("it holds %+v", s.Dump())
	}
}

func TestProxyDelays(t *testing.T) {
	t.Parallel()
	const away = 60 * time.Millisecond
	s := Start(t)
	p := NewProxy(t, s.Addr())
	p.Delay(away)
	opts, err := redis.ParseURL(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	defer c.Close()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for range 50 { // what is sent at the same time arrives at the same time
		callers.Go(func() {
			start := time.Now()
			if err := c.Incr(t.Context(), "n").Err(); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took < away {
				t.Errorf("a round trip took %v", took)
			}
		})
	}
	callers.Wait()
	if n := s.Calls("incr"); n != 50 {
		t.Errorf("%d INCR, want 50", n)
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := NewProxy(t, s.Addr())
	opts, err := redis.ParseURL(p.URL() + "?max_retries=-1")
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	defer c.Close()
	incr := func() error { return c.Incr(t.Context(), "n").Err() }
	if err := incr(); err != nil {
		t.Fatal(err)
	}
	p.CutReplies(1, func(request []byte) bool { return bytes.Contains(request, []byte("incr")) })
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Errorf("a reply to a request that does not match was cut: %v", err)
	}
	if err := incr(); err == nil {
		t.Error("the reply was not cut")
	}
	if n := s.Calls("incr"); n != 2 || p.Cut() != 1 {
		t.Errorf("%d INCR and %d replies cut, want 2 and 1", n, p.Cut())
	}
	p.Refuse(true)
	if err := incr(); err == nil {
		t.Error("the connection was not refused")
	}
	p.Refuse(false)
	if err := incr(); err != nil {
		t.Error(err)
	}

	p.Blackhole(true)
	answered := make(chan error, 1)
	go func() { answered <- incr() }()
	if n := s.Calls("incr"); n != 3 { // past the proxy
		t.Errorf("%d INCR, want 3", n)
	}
	p.Blackhole(false)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
