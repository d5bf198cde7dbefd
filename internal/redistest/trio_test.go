package redistest

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestTrioFailsOver(t *testing.T) {
	t.Parallel()
	tr := StartTrioWith(t, TrioOptions{Args: []string{"--requirepass", "secret"}, SentinelPassword: "another"})
	servers, sentinels := tr.Servers(), tr.Sentinels()
	want := fmt.Sprintf("redis+sentinel://:secret@%s,%s,%s/mymaster/0", sentinels[0].Addr(), sentinels[1].Addr(), sentinels[2].Addr())
	if tr.URL() != want {
		t.Errorf("the URL is %s, want %s", tr.URL(), want)
	}
	first := tr.Primary()
	if first != servers[0] {
		t.Error("the primary at the start is not the first server")
	}
	put(t, first, "before", 2)

	first.Pause()
	second := tr.WaitPrimaryNot(first)
	if !has(second, "before") {
		t.Error("a key that both replicas had is lost")
	}
	put(t, second, "after", 1)
	first.Resume()
	tr.WaitWhole()
	if !has(first, "after") {
		t.Error("the old primary does not replicate")
	}

	sentinels[0].Pause() // the other two can name a primary
	third := tr.Failover()
	if third == second || tr.Primary() != third {
		t.Error("the failover had no effect")
	}
	sentinels[0].Resume()
	tr.WaitWhole()
	third.Pause() // the cleanup must cope with that, and with a paused Sentinel
	sentinels[1].Pause()
}

func TestTrioRestarts(t *testing.T) {
	t.Parallel()
	tr := StartTrio(t, "--appendonly", "yes", "--appendfsync", "always")
	put(t, tr.Primary(), "a", 2)
	tr.Servers()[2].Restart() // a replica
	tr.WaitWhole()
	primary := tr.Failover()
	tr.WaitWhole()
	put(t, primary, "b", 2)

	all := append(tr.Servers(), tr.Sentinels()...)
	for _, s := range all {
		s.Kill()
	}
	for _, s := range all {
		s.Restart()
	}
	tr.WaitWhole()
	for _, s := range tr.Servers() {
		if !has(s, "a") || !has(s, "b") {
			t.Error("a restart loses what is on disk")
		}
	}
}

func TestTrioPartition(t *testing.T) {
	t.Parallel()
	tr := StartTrioWith(t, TrioOptions{Proxied: true})
	old := tr.Primary()
	told, err := tr.Sentinels()[0].Client().Do(t.Context(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").StringSlice()
	if err != nil || told[0]+":"+told[1] != tr.ProxyOf(old).Addr() {
		t.Fatalf("a Sentinel gives out %q (%v), want the proxy", told, err)
	}
	opts, err := redis.ParseURL(tr.ProxyOf(old).URL())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	defer c.Close()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}

	tr.ProxyOf(old).Blackhole(true)
	primary := tr.WaitPrimaryNot(old)
	put(t, old, "minority", 0) // it does not know about the failover
	put(t, primary, "majority", 1)
	tr.ProxyOf(old).Blackhole(false)
	tr.WaitWhole()
	if tr.Primary() != primary || has(old, "minority") || !has(old, "majority") {
		t.Error("the old primary does not follow the new one")
	}
}

func TestTrioRollsBack(t *testing.T) {
	t.Parallel()
	tr := StartTrioWith(t, TrioOptions{DownAfter: time.Minute})
	primary := tr.Primary()
	put(t, primary, "before", 2)
	then := primary.Snapshot()
	put(t, primary, "after", 2)
	primary.Rollback(then)
	tr.WaitWhole()
	for _, s := range tr.Servers() {
		if !has(s, "before") || has(s, "after") {
			t.Errorf("a server holds %+v", s.Dump())
		}
	}
}
