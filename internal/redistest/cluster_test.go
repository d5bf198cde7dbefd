package redistest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestClusterPromotes(t *testing.T) {
	t.Parallel()
	c := StartCluster(t)
	primaries, servers := c.Primaries(), c.Servers()
	if !slices.Equal(primaries, servers[:3]) {
		t.Error("the first three servers are not the primaries")
	}
	for i, p := range primaries {
		if c.ReplicaOf(p) != servers[3+i] {
			t.Errorf("the replica of %d is not three later", i)
		}
	}
	for i := range 30 {
		key := fmt.Sprint("key", i)
		put(t, c.PrimaryOf(key), key, 1)
	}

	lost := c.PrimaryOf("key0")
	lost.Kill()
	promoted := c.WaitPromoted(lost, "key0")
	if promoted == lost || c.PrimaryOf("key0") != promoted || !slices.Contains(c.Primaries(), promoted) {
		t.Error("no other server owns the slot")
	}
	if n := len(c.Dump()); n != 30 {
		t.Errorf("%d of 30 keys are left", n)
	}
	lost.Restart()
	c.WaitWhole()
	if c.ReplicaOf(promoted) != lost || len(lost.Dump()) != len(promoted.Dump()) {
		t.Error("the old primary does not replicate")
	}

	promoted.Pause()
	if c.WaitPromoted(promoted, "key0") != lost {
		t.Error("a primary that hangs is not replaced by its replica")
	}
	promoted.Resume()
	c.WaitWhole()
	if slices.Contains(c.Primaries(), promoted) {
		t.Error("the primary that hung is a primary again")
	}
	lost.Pause() // the cleanup must cope with that
}

func TestClusterMigrates(t *testing.T) {
	t.Parallel()
	c := StartClusterWith(t, ClusterOptions{Args: []string{"--requirepass", "secret"}, Proxied: true})
	primaries := c.Primaries()
	want := fmt.Sprintf("redis+cluster://:secret@%s,%s,%s",
		c.ProxyOf(primaries[0]).Addr(), c.ProxyOf(primaries[1]).Addr(), c.ProxyOf(primaries[2]).Addr())
	if c.URL() != want {
		t.Errorf("the URL is %s, want %s", c.URL(), want)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{primaries[0].known()}, Password: "secret"})
	defer client.Close()
	keys := []string{"{tag}0", "{tag}1", "{tag}2", "{tag}3", "{tag}4"}
	for _, key := range keys {
		if err := client.Set(t.Context(), key, "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	readAll := func(when string) {
		t.Helper()
		for _, key := range keys {
			if err := client.Get(t.Context(), key).Err(); err != nil {
				t.Errorf("%s: %s: %v", when, key, err)
			}
		}
		if n := len(c.Dump()); n != len(keys) {
			t.Errorf("%s: the dump has %d keys, want %d", when, n, len(keys))
		}
	}
	from := c.PrimaryOf("{tag}")
	to := primaries[(slices.Index(primaries, from)+1)%3]
	m := c.Migrate(Slot("{tag}"), to)
	m.Begin()
	readAll("begun")
	if n := m.Move(2); n != 2 {
		t.Errorf("moved %d keys, want 2", n)
	}
	readAll("under way")
	if c.PrimaryOf("{tag}") != from {
		t.Error("the slot is moved before its keys are")
	}
	if n := m.Move(10); n != 3 {
		t.Errorf("moved %d keys, want 3", n)
	}
	if n := m.Move(10); n != 0 {
		t.Errorf("moved %d keys, want none", n)
	}
	m.Finish()
	c.WaitWhole()
	readAll("finished")
	if c.PrimaryOf("{tag}") != to || !has(to, keys[0]) || has(from, keys[0]) {
		t.Error("the slot has not moved")
	}

	// The client knows only the proxies.
	sets := to.Calls("set")
	c.ProxyOf(to).CutReplies(1, func(request []byte) bool { return strings.Contains(string(request), "unheard") })
	if err := client.Set(t.Context(), "{tag}unheard", "value", 0).Err(); err != nil {
		t.Error(err)
	}
	if n := to.Calls("set") - sets; n != 2 || c.ProxyOf(to).Cut() != 1 {
		t.Errorf("%d SET and %d replies cut, want 2 and 1", n, c.ProxyOf(to).Cut())
	}
}

func TestSlot(t *testing.T) {
	t.Parallel()
	s := Start(t, "--cluster-enabled", "yes", "--cluster-port", FreePort(t))
	for _, key := range []string{"", "a", "123456789", "{tag}1", "1{tag}2", "{}a", "{", "}{a", "{a", "{{a}}", "{a}{b}", "{apps}:x", "\xff\x00"} {
		want, err := s.Client().ClusterKeySlot(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if got := Slot(key); got != int(want) {
			t.Errorf("the slot of %q is %d, want %d", key, got, want)
		}
	}
}
