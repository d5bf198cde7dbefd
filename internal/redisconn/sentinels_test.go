package redisconn

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"authsvc/internal/redistest"
)

// What Sentinels say, round after round, and which primary is right then.
func TestSentinelsAreBelievedByTheirEpoch(t *testing.T) {
	type round struct {
		after time.Duration
		says  []naming
		want  string
	}
	for name, rounds := range map[string][]round{
		"they agree":           {{0, []naming{{"a", 1}, {"a", 1}, {"a", 1}}, "a"}},
		"none answers":         {{0, nil, ""}, {0, []naming{{"a", 0}}, "a"}, {0, nil, "a"}},
		"one is outdated":      {{0, []naming{{"a", 1}, {"b", 2}, {"b", 2}}, "b"}},
		"most are outdated":    {{0, []naming{{"a", 1}, {"a", 1}, {"b", 2}}, "b"}},
		"the first epoch of 0": {{0, []naming{{"a", 0}, {"b", 1}}, "b"}},
		"a tie":                {{0, []naming{{"a", 1}, {"b", 1}}, ""}, {0, []naming{{"a", 1}}, "a"}, {0, []naming{{"b", 1}, {"a", 1}}, "a"}},
		"a tie below the highest": {
			{0, []naming{{"a", 1}, {"b", 1}, {"c", 2}}, "c"},
			{0, []naming{{"c", 2}, {"a", 1}, {"b", 1}}, "c"},
		},
		"two failovers": {{0, []naming{{"a", 1}}, "a"}, {0, []naming{{"b", 2}}, "b"}, {0, []naming{{"a", 3}, {"b", 2}}, "a"}},
		"only the outdated one answers": {
			{0, []naming{{"a", 1}, {"b", 2}}, "b"},
			{time.Second, []naming{{"a", 1}}, "b"},
			{epochKept - 2*time.Second, []naming{{"a", 1}}, "b"},
			{0, []naming{{"a", 1}, {"b", 2}}, "b"},
			{epochKept - time.Second, []naming{{"a", 1}}, "b"},
		},
		"they are set up anew": {
			{0, []naming{{"a", 7}}, "a"},
			{time.Second, []naming{{"b", 0}}, "a"},
			{epochKept, []naming{{"b", 0}}, "b"},
		},
	} {
		s := newSentinels(Options{}, clientOptions(Options{}))
		now := time.Now()
		for i, r := range rounds {
			now = now.Add(r.after)
			s.learn(r.says, now)
			if s.right.primary != r.want {
				t.Errorf("%s, round %d: %q is right, want %q", name, i, s.right.primary, r.want)
			}
		}
	}
}

// listening accepts connections and keeps them.
func listening(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// Connections to a primary that was replaced are closed, no new one is made there, and
// those to Sentinels stay.
func TestAReplacedPrimaryIsLeft(t *testing.T) {
	s := newSentinels(Options{}, clientOptions(Options{}))
	old, next, sentinel := listening(t), listening(t), listening(t)
	connect := func(addr string) net.Conn {
		t.Helper()
		c, err := s.connect(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	closed := func(c net.Conn) bool {
		_, err := c.Write([]byte("x"))
		return errors.Is(err, net.ErrClosed)
	}
	early := connect(old) // before any Sentinel was asked
	s.learn([]naming{{old, 1}}, time.Now())
	a, b := connect(old), connect(sentinel)
	if closed(early) || closed(a) {
		t.Error("a connection to the primary was closed")
	}
	s.learn([]naming{{old, 1}, {next, 2}}, time.Now())
	if !closed(early) || !closed(a) {
		t.Error("a connection to the old primary was not closed")
	}
	c, d := connect(old), connect(next)
	for _, c := range []net.Conn{c, d} {
		if closed(c) || c.RemoteAddr().String() != next {
			t.Errorf("a new connection leads to %s, want %s", c.RemoteAddr(), next)
		}
	}
	if closed(b) {
		t.Error("a connection to a Sentinel was closed")
	}
	for _, c := range []net.Conn{early, a, b, c, d} {
		_ = c.Close()
	}
	if len(s.conns) != 0 {
		t.Errorf("%d connections are remembered, of none", len(s.conns))
	}
}

// The network cuts a process and the primary off from the Sentinels that it knows. Once it
// is back, the process follows them, though it missed what they announced, and long before
// one of them turns the old primary into a replica.
func TestAPrimaryIsLeftAfterAPartition(t *testing.T) {
	t.Parallel()
	trio := redistest.StartTrioWith(t, redistest.TrioOptions{Divided: true, Unhurried: true})
	old := trio.Primary()
	opts := options(t, trio.URL())
	opts.Addrs = opts.Addrs[1:] // go-redis would hear of the failover from the other
	r := openWith(t, opts)
	redistest.Succeeds(t, "a write", func(ctx context.Context) error { return put(ctx, r, prefix+"before", "1") })
	redistest.Eventually(t, "the primary to be known", func() bool {
		r.sentinels.mu.Lock()
		defer r.sentinels.mu.Unlock()
		return r.sentinels.right.primary != ""
	})
	trio.Partition(true)
	next := trio.WaitPrimaryNot(old)
	redistest.Succeeds(t, "a write to the old primary", func(ctx context.Context) error { return put(ctx, r, prefix+"meanwhile", "1") })
	trio.Partition(false)
	redistest.Eventually(t, "a write to the new primary", func() bool {
		_ = put(inside(t, time.Second), r, prefix+"after", "1")
		return next.Client().Exists(t.Context(), prefix+"after").Val() == 1
	})
	if info := old.Client().Info(t.Context(), "replication").Val(); !strings.Contains(info, "role:master") {
		t.Errorf("the old primary was turned into a replica before it was left:\n%s", info)
	}
}

// A Sentinel that does not tell the epoch is named, with the command that lets it.
func TestSentinelsThatDoNotTellTheEpoch(t *testing.T) {
	t.Parallel()
	trio := redistest.StartTrio(t)
	for _, s := range trio.Sentinels()[1:] {
		do(t, s, "ACL", "SETUSER", "default", "-sentinel|master")
	}
	r := openURL(t, trio.URL())
	var refused *PermissionError
	redistest.Eventually(t, "the permissions to be checked", func() bool {
		return errors.As(r.CheckPermissions(inside(t, 10*time.Second), func(string) [][]any { return nil }), &refused)
	})
	var addrs []string
	for _, n := range refused.Nodes {
		addrs = append(addrs, n.Addr)
		if n.Grant() != "ACL SETUSER default +sentinel|master" {
			t.Errorf("the fix is %s", n.Grant())
		}
	}
	want := []string{trio.Sentinels()[1].Addr(), trio.Sentinels()[2].Addr()}
	slices.Sort(want)
	if !slices.Equal(addrs, want) {
		t.Errorf("refused by %v, want %v", addrs, want)
	}
}
