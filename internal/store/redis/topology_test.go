package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"authsvc/internal/redisconn"
	"authsvc/internal/redistest"
	"authsvc/internal/store"
	"authsvc/internal/store/storetest"
	"authsvc/internal/token"
)

// idsOn is n ids whose keys are on a server, and as many that are on others.
func idsOn(c *redistest.Cluster, server *redistest.Server, n int) (on, off []token.GrantID) {
	for i := 0; len(on) < n || len(off) < n; i++ {
		id := token.GrantID{byte(i), byte(i >> 8), 7}
		if c.PrimaryOf(keyOf(id)) == server {
			on = append(on, id)
		} else {
			off = append(off, id)
		}
	}
	return on[:n], off[:n]
}

func TestEachTopologyIsAStore(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, on redistest.Site) {
		storetest.Run(t, func(t *testing.T) token.Store { return open(t, on.URL) })
	})
}

// A swap whose caller gave up never lands late, whatever stood still meanwhile.
func TestEachTopologyFencesASwap(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, on redistest.Site) {
		s, direct := open(t, on.URL), open(t, on.URL)
		id := created(t, s, one)
		if err := s.Swap(t.Context(), id, one, one, later(), later()); err != nil { // so that Redis has the script
			t.Fatal(err)
		}
		primary := on.PrimaryOf(keyOf(id))
		evals := primary.Calls("evalsha")
		now, err := s.Now(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const patience = 50 * time.Millisecond
		primary.Pause()
		wantUnavailable(t, "Swap", s.Swap(inside(t, patience), id, one, two, later(), now.Add(patience)))
		primary.Resume() // only now, which is past its time

		redistest.Eventually(t, "Redis to run the swap it was sent", func() bool { return primary.Calls("evalsha") > evals })
		redistest.Succeeds(t, "the record to be read", func(ctx context.Context) error {
			got, err := direct.Get(ctx, id)
			if err == nil && !bytes.Equal(got, one) {
				t.Errorf("the record is %q: the swap landed late", got)
			}
			return err
		})
	})
}

func TestEachTopologyCloses(t *testing.T) {
	for name, start := range redistest.Sites {
		t.Run(name, func(t *testing.T) {
			on := start(t)
			before := goleak.IgnoreCurrent()
			for _, frozen := range []bool{false, true} {
				s := open(t, on.URL)
				id := token.GrantID{byte(len(name))}
				for call, err := range everyCall(t, s, 10*time.Second) {
					if errors.Is(err, token.ErrUnavailable) {
						t.Errorf("%s: %v", call, err)
					}
				}
				primary := on.PrimaryOf(keyOf(id))
				if frozen {
					primary.Pause()
					wantUnavailable(t, "Delete", s.Delete(inside(t, 10*time.Millisecond), id, one))
				}
				if err := s.Close(); err != nil && !frozen {
					t.Errorf("Close: %v", err)
				}
				if frozen {
					primary.Resume()
				}
				for call, err := range everyCall(t, s, 10*time.Second) {
					wantUnavailable(t, call, err)
				}
			}
			// go-redis looks after nodes that left a Cluster a minute later.
			redistest.Eventually(t, "goroutines to end", func() bool { return goleak.Find(before) == nil })
		})
	}
}

// An operator's Redis may give authsvc no more than this; a Cluster, the last two
// as well.
const (
	leastRights   = "on >s3cret-pw ~authsvc:* resetchannels -@all +hello +auth +select +client|setname +role +get +set +del +time +eval +evalsha"
	clusterRights = "+cluster|slots +asking"
)

func TestEachTopologyNeedsFewRights(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, on redistest.Site) {
		// The password of the URL is percent-encoded, so as if it were any.
		rights := leastRights
		s := open(t, strings.Replace(on.URL, "://", "://app:s3cret%2Dpw@", 1))
		if strings.HasPrefix(on.URL, "redis+cluster:") {
			rights += " " + clusterRights
		}
		for _, server := range on.Servers {
			args := []any{"ACL", "SETUSER", "app"}
			for _, rule := range strings.Fields(rights) {
				args = append(args, rule)
			}
			if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for i := range byte(10) { // in a Cluster, on each primary
			id := token.GrantID{i}
			if err := s.Create(inside(t, 5*time.Second), id, one, later()); err != nil {
				t.Errorf("Create: %v", err)
			}
			if err := s.Swap(inside(t, 5*time.Second), id, one, two, later(), later()); err != nil {
				t.Errorf("Swap: %v", err)
			}
			wantHeld(t, s, id, two)
			if err := s.Delete(inside(t, 5*time.Second), id, two); err != nil {
				t.Errorf("Delete: %v", err)
			}
		}
		if _, err := s.Now(inside(t, 5*time.Second)); err != nil {
			t.Errorf("Now: %v", err)
		}
	})
}

// Each of these rights is missed by the check of permissions, and nothing is left of it.
func TestCheckPermissionsCoversTheRights(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, strings.Replace(server.URL(), "://", "://app:s3cret%2Dpw@", 1))
	args := []any{"ACL", "SETUSER", "app", "reset"}
	for _, rule := range strings.Fields(leastRights) {
		args = append(args, rule)
	}
	for _, missing := range []string{"", "role", "get", "set", "del", "time", "eval", "evalsha"} {
		all := args
		if missing != "" {
			all = append(slices.Clone(args), "-"+missing)
		}
		if err := server.Client().Do(t.Context(), all...).Err(); err != nil {
			t.Fatal(err)
		}
		var refused []string
		redistest.Succeeds(t, "the permissions to be checked", func(ctx context.Context) error {
			err := s.CheckPermissions(ctx)
			if e := (*redisconn.PermissionError)(nil); errors.As(err, &e) {
				refused, err = e.Nodes[0].Commands, nil
			}
			return err
		})
		if strings.Join(refused, " ") != missing {
			t.Errorf("without %q, it finds %q missing", missing, refused)
		}
	}
	for _, record := range server.Dump() { // what could not be deleted
		if ttl := server.Client().Do(t.Context(), "PTTL", record.Key).Val(); ttl == int64(-1) {
			t.Errorf("%s stays for ever", record.Key)
		}
	}
}

// Sentinels have credentials of their own, and give them no more than this.
func TestSentinelUser(t *testing.T) {
	t.Parallel()
	const rights = "on >s3ntinel-pw allchannels -@all +hello +auth +client|setname +role +ping +subscribe +sentinel|get-master-addr-by-name +sentinel|sentinels +sentinel|master"
	trio := redistest.StartTrio(t, "--requirepass", "s3cret-pw", "--masterauth", "s3cret-pw")
	for _, sentinel := range trio.Sentinels() {
		args := []any{"ACL", "SETUSER", "watcher"}
		for _, rule := range strings.Fields(rights) {
			args = append(args, rule)
		}
		if err := sentinel.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
		if err := sentinel.Client().Do(t.Context(), "ACL", "SETUSER", "default", "resetpass", ">other").Err(); err != nil {
			t.Fatal(err)
		}
	}
	good := at(t, trio.URL())
	good.SentinelUser, good.SentinelPassword = "watcher", "s3ntinel-pw"
	s := openWith(t, good, store.Options{Timeout: 300 * time.Millisecond})
	wantHeld(t, s, created(t, s, one), one)
	wrong := good
	wrong.SentinelPassword = "wrong"
	for _, target := range []store.Target{at(t, trio.URL()), wrong} {
		for call, err := range everyCall(t, openWith(t, target, store.Options{}), time.Second) {
			wantUnavailable(t, call, err)
			if text := fmt.Sprint(err); strings.Contains(text, "wrong") || strings.Contains(text, "s3cret-pw") {
				t.Errorf("%s: the error holds a password: %v", call, err)
			}
		}
	}
}

// With the primary lost, or made a replica, the store goes on with its successor,
// and no call is answered by a replica.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	trio := redistest.StartTrio(t)
	s := open(t, trio.URL())
	id := created(t, s, one)
	for name, lose := range map[string]func(){
		"asked for": func() { trio.Failover() },
		"killed":    func() { trio.Primary().Kill() },
	} {
		old := trio.Primary()
		old.Client().Do(t.Context(), "WAIT", 2, 5000) // the record is everywhere
		lose()
		now := trio.WaitPrimaryNot(old)
		// The old one goes on for a moment where it was not killed.
		redistest.Succeeds(t, name+": the new primary to swap", func(ctx context.Context) error {
			err := s.Swap(ctx, id, one, one, later(), later())
			if err == nil && now.Calls("evalsha") == 0 {
				err = errors.New("it ran no script")
			}
			return err
		})
		wantHeld(t, s, id, one)
		if name == "killed" {
			old.Restart()
		}
		trio.WaitWhole()
	}
}

func TestClusterLosesAPrimary(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	events := make(chan error, 100)
	s := openWith(t, at(t, c.URL()), store.Options{Timeout: 300 * time.Millisecond, OnBreaker: func(node string, err error, _ time.Time) {
		events <- fmt.Errorf("%s: %w", node, err)
	}})
	lost := c.Primaries()[0]
	on, off := idsOn(c, lost, 20)
	for _, id := range append(on, off...) {
		if err := s.Create(t.Context(), id, one, later()); err != nil {
			t.Fatal(err)
		}
	}
	lost.Client().Do(t.Context(), "WAIT", 1, 5000)
	lost.Pause() // nothing answers, nothing refuses: the worst way to be unavailable
	redistest.Eventually(t, "a call for its keys to be refused at once", func() bool {
		return errors.Is(s.Delete(inside(t, 50*time.Millisecond), token.GrantID{9, 9, 9}, nil), redisconn.ErrBreakerOpen) ||
			errors.Is(s.Swap(inside(t, 50*time.Millisecond), on[0], one, one, later(), later()), redisconn.ErrBreakerOpen)
	})
	for _, id := range off { // nobody else is held up
		if err := s.Swap(inside(t, 5*time.Second), id, one, two, later(), later()); err != nil {
			t.Errorf("Swap on another primary: %v", err)
		}
	}
	c.WaitPromoted(lost, keyOf(on[0]))
	for _, id := range on {
		redistest.Succeeds(t, "a swap on the promoted replica", func(ctx context.Context) error {
			return s.Swap(ctx, id, one, two, later(), later())
		})
		wantHeld(t, s, id, two)
	}
	if err := <-events; !strings.Contains(err.Error(), lost.Addr()) || errors.Is(err, redisconn.ErrReplaced) {
		t.Errorf("told %v first", err)
	}
	if err := <-events; !strings.Contains(err.Error(), lost.Addr()) || !errors.Is(err, redisconn.ErrReplaced) {
		t.Errorf("told %v at last", err)
	}
	lost.Resume()
	c.WaitWhole()
	for _, id := range append(on, off...) {
		redistest.Succeeds(t, "every record to be as it was left", func(ctx context.Context) error {
			got, err := s.Get(ctx, id)
			if err == nil && !bytes.Equal(got, two) {
				t.Errorf("the record is %q", got)
			}
			return err
		})
	}
}

// A slot that moves is no fault: each call succeeds before, during and after.
func TestClusterMovesASlot(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	s := open(t, c.URL())
	id := token.GrantID{1}
	slot := redistest.Slot(keyOf(id))
	var ids []token.GrantID // of one slot
	for i := 0; len(ids) < 8; i++ {
		id := token.GrantID{1, byte(i), byte(i >> 8), byte(i >> 16)}
		if redistest.Slot(keyOf(id)) == slot {
			ids = append(ids, id)
		}
	}
	held := map[token.GrantID][]byte{}
	round := func(when string, of []token.GrantID) {
		t.Helper()
		for i, id := range of {
			was, ok := held[id]
			next := fmt.Appendf(nil, "%s %d", when, i)
			if !ok {
				if err := s.Create(inside(t, 10*time.Second), id, next, later()); err != nil {
					t.Errorf("%s: Create: %v", when, err)
				}
			} else if err := s.Swap(inside(t, 10*time.Second), id, was, next, later(), later()); err != nil {
				t.Errorf("%s: Swap: %v", when, err)
			}
			held[id] = next
			wantHeld(t, s, id, next)
		}
	}
	from := c.PrimaryOf(keyOf(id))
	to := c.Primaries()[0]
	if to == from {
		to = c.Primaries()[1]
	}
	round("before", ids[:4])
	m := c.Migrate(slot, to)
	m.Begin()
	round("as it begins", ids[:5])
	if n := m.Move(2); n != 2 {
		t.Fatalf("%d keys moved", n)
	}
	round("halfway", ids[:6])
	if err := s.Delete(inside(t, 10*time.Second), ids[5], held[ids[5]]); err != nil {
		t.Errorf("Delete: %v", err)
	}
	delete(held, ids[5])
	m.Move(1000)
	round("moved", ids[:7])
	m.Finish()
	round("after", ids)
	if c.PrimaryOf(keyOf(id)) != to {
		t.Fatal("the slot did not move")
	}
	for i := range ids {
		wantHeld(t, s, ids[i], held[ids[i]])
	}
}
