package redis_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"authsvc/internal/redisconn"
	"authsvc/internal/redistest"
	"authsvc/internal/store"
	"authsvc/internal/store/redis"
	"authsvc/internal/token"
)

var (
	one = []byte("one")
	two = []byte("two")
)

func later() time.Time { return time.Now().Add(time.Hour) }

// at returns the target of a URL.
func at(t testing.TB, url string) store.Target {
	t.Helper()
	target, err := store.ParseTarget(url)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func open(t testing.TB, url string) *redis.Store {
	t.Helper()
	return openWith(t, at(t, url), store.Options{Timeout: 300 * time.Millisecond})
}

func openWith(t testing.TB, target store.Target, opts store.Options) *redis.Store {
	t.Helper()
	s, err := store.Open(target, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.(*redis.Store)
}

// keyOf returns the key of a grant.
func keyOf(id token.GrantID) string {
	return store.DefaultPrefix + base64.RawURLEncoding.EncodeToString(id[:])
}

// inside returns the context of a request, which ends after d.
func inside(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// created is the id of a new record.
func created(t testing.TB, s token.Store, record []byte) token.GrantID {
	t.Helper()
	var id token.GrantID
	copy(id[:], t.Name()[max(0, len(t.Name())-16):])
	if err := s.Create(t.Context(), id, record, later()); err != nil {
		t.Fatal(err)
	}
	return id
}

func wantHeld(t testing.TB, s token.Store, id token.GrantID, want []byte) {
	t.Helper()
	if got, err := s.Get(t.Context(), id); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the record is %q, %v; want %q", got, err, want)
	}
}

func wantUnavailable(t testing.TB, call string, err error) {
	t.Helper()
	if !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("%s: %v, want ErrUnavailable", call, err)
	}
}

// everyCall makes each call of a store, with a context of its own.
func everyCall(t testing.TB, s token.Store, d time.Duration) map[string]error {
	t.Helper()
	id := token.GrantID{1: 0xff}
	_, getErr := s.Get(inside(t, d), id)
	_, nowErr := s.Now(inside(t, d))
	return map[string]error{
		"Create": s.Create(inside(t, d), id, one, later()),
		"Get":    getErr,
		"Swap":   s.Swap(inside(t, d), id, one, two, later(), later()),
		"Delete": s.Delete(inside(t, d), id, one),
		"Now":    nowErr,
	}
}

// clientGoroutines is how many goroutines the stores of this test have, dialing
// and sending.
func clientGoroutines() int {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	n := 0
	for _, stack := range bytes.Split(stacks, []byte("\n\n")) {
		if bytes.Contains(stack, []byte("github.com/redis/go-redis")) {
			n++
		}
	}
	return n
}

func TestRedisKeepsAGrantUnderOneKey(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, strings.TrimSuffix(server.URL(), "0")+"3")
	id := token.GrantID{0xfb, 0xff, 15: 1}
	if err := s.Create(t.Context(), id, one, later()); err != nil {
		t.Fatal(err)
	}
	dump := server.Dump()
	if name := server.Client().ClientList(t.Context()).Val(); !strings.Contains(name, " name=authsvc ") {
		t.Errorf("CLIENT LIST: %s", name)
	}
	if len(dump) != 1 || dump[0].Key != "authsvc:-_8AAAAAAAAAAAAAAAAAAQ" || dump[0].DB != 3 || !bytes.Contains(dump[0].Value, one) {
		t.Errorf("Redis holds %+v", dump)
	}
}

func TestRedisSettings(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis.sock")
	server := redistest.Start(t, "--unixsocket", socket, "--requirepass", "s3cret-pw")
	elsewhere, prefixed := at(t, "unix://"+socket), at(t, server.URL())
	elsewhere.Password, prefixed.Prefix = "s3cret-pw", "other:"
	for name, target := range map[string]store.Target{
		"a socket":               at(t, "unix://:s3cret-pw@"+socket+"?db=2"),
		"the password elsewhere": elsewhere,
		"a prefix":               prefixed,
	} {
		t.Run(name, func(t *testing.T) {
			s := openWith(t, target, store.Options{ClientName: "authsvc:here"})
			if err := s.Create(t.Context(), token.GrantID{}, one, later()); err != nil {
				t.Fatal(err)
			}
			wantHeld(t, s, token.GrantID{}, one)
		})
	}
	got := map[string]int{}
	for _, r := range server.Dump() {
		got[r.Key] = r.DB
	}
	// The second found its key in database 0, so the first has another.
	if len(got) != 2 || got["authsvc:AAAAAAAAAAAAAAAAAAAAAA"] != 2 || got["other:AAAAAAAAAAAAAAAAAAAAAA"] != 0 {
		t.Errorf("Redis holds %v", got)
	}
}

func TestRedisTLS(t *testing.T) {
	certs, others := redistest.NewCerts(t), redistest.NewCerts(t)
	server := redistest.StartTLS(t, certs)
	good := at(t, server.TLSURL())
	good.CAFile, good.CertFile, good.KeyFile = certs.CAFile, certs.ClientCertFile, certs.ClientKeyFile
	s := openWith(t, good, store.Options{})
	redistest.Succeeds(t, "a record to be kept over TLS", func(ctx context.Context) error {
		if err := s.Create(ctx, token.GrantID{}, one, later()); !errors.Is(err, token.ErrExists) {
			return err
		}
		return nil // an attempt before it was not in time
	})
	redistest.Succeeds(t, "it to be read", func(ctx context.Context) error {
		got, err := s.Get(ctx, token.GrantID{})
		if err == nil && !bytes.Equal(got, one) {
			t.Errorf("the record is %q", got)
		}
		return err
	})

	for name, c := range map[string]struct {
		with func(*store.Target)
		want string // in each error
	}{
		"wrong CA":              {func(o *store.Target) { o.CAFile = others.CAFile }, "certificate signed by unknown authority"},
		"the system's CAs":      {func(o *store.Target) { o.CAFile = "" }, "certificate signed by unknown authority"},
		"another name":          {func(o *store.Target) { o.Addrs = []string{strings.Replace(o.Addrs[0], "127.0.0.1", "localhost", 1)} }, "certificate is not valid"},
		"no client certificate": {func(o *store.Target) { o.CertFile, o.KeyFile = "", "" }, ""},
		"wrong client certificate": {func(o *store.Target) {
			o.CertFile, o.KeyFile = others.ClientCertFile, others.ClientKeyFile
		}, ""},
		"plain to the TLS port": {func(o *store.Target) { *o = store.Target{Addrs: o.Addrs} }, ""},
		"TLS to the plain port": {func(o *store.Target) { o.Addrs = []string{server.Addr()} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			target, patience := good, 10*time.Second
			if c.with(&target); c.want == "" {
				patience = 300 * time.Millisecond // how it fails is up to Redis; it may not even answer
			}
			s := openWith(t, target, store.Options{})
			redistest.Eventually(t, "each error to name its cause", func() bool { // on a busy machine a handshake can take too long
				named := true
				for call, err := range everyCall(t, s, patience) {
					wantUnavailable(t, call, err)
					named = named && strings.Contains(fmt.Sprint(err), c.want)
				}
				return named
			})
		})
	}
	if n := len(server.Dump()); n != 1 {
		t.Errorf("Redis holds %d records, want the first", n)
	}
}

// A connection that is refused while it is set up fails with an answer of Redis.
// go-redis leaves such an answer off the commands of a pipeline; none of them may
// pass for done.
func TestRedisRefusesTheUser(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "the-right-one")
	for name, url := range map[string]string{
		"wrong password": "redis://:s3cret-pw@" + server.Addr(),
		"wrong user":     "redis://s3cret-pw:s3cret-pw@" + server.Addr(),
		"no password":    "redis://" + server.Addr(),
		"wrong database": strings.TrimSuffix(server.URL(), "0") + "99",
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, url)
			var wg sync.WaitGroup
			for range 8 { // so that some share a pipeline
				wg.Go(func() {
					for call, err := range everyCall(t, s, time.Second) {
						wantUnavailable(t, call, err)
						if strings.Contains(fmt.Sprint(err), "s3cret-pw") {
							t.Errorf("%s: the error holds the password: %v", call, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
	if n := len(server.Dump()); n != 0 {
		t.Errorf("%d records were kept", n)
	}
}

func TestRedisLosesTheReplyToCreate(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	s, direct := open(t, p.URL()), open(t, server.URL())
	p.CutReplies(1, redistest.Command("SET"))
	id := token.GrantID{1}
	wantUnavailable(t, "Create", s.Create(t.Context(), id, one, later()))
	wantHeld(t, direct, id, one)
	if n := server.Calls("set"); n != 1 || p.Cut() != 1 {
		t.Errorf("Redis did %d SET, and %d replies were lost; want 1 and 1", n, p.Cut())
	}
	wantHeld(t, s, id, one)
}

// A pipeline that dies is not sent again as a whole either.
func TestRedisLosesTheRepliesToAPipelineOfCreates(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	s := open(t, p.URL())
	p.CutReplies(3, redistest.Command("SET"))
	const callers = 50
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { errs[i] = s.Create(t.Context(), token.GrantID{byte(i)}, one, later()) })
	}
	wg.Wait()
	lost := 0
	for _, err := range errs {
		if err != nil {
			lost++
			wantUnavailable(t, "Create", err)
		}
	}
	if n := server.Calls("set"); n != callers || lost == 0 {
		t.Errorf("Redis did %d SET for %d creates, of which %d were unavailable", n, callers, lost)
	}
}

func TestRedisLosesTheReplyToASwap(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	s := open(t, p.URL())
	id := created(t, s, one)
	if err := s.Swap(t.Context(), id, one, one, later(), later()); err != nil { // so that Redis has the script
		t.Fatal(err)
	}
	evals, sets := server.Calls("evalsha"), server.Calls("set")

	p.CutReplies(1, redistest.Command("EVALSHA"))
	if err := s.Swap(t.Context(), id, one, two, later(), later()); err != nil {
		t.Errorf("Swap: %v", err)
	}
	wantHeld(t, s, id, two)
	if e, n := server.Calls("evalsha")-evals, server.Calls("set")-sets; e != 2 || n != 1 {
		t.Errorf("Redis ran the script %d times and set %d times; want 2 and 1", e, n)
	}

	// Lost as often as it is sent, it is unavailable, and was done.
	p.CutReplies(3, redistest.Command("EVALSHA"))
	wantUnavailable(t, "Swap", s.Swap(inside(t, 10*time.Second), id, two, one, later(), later()))
	wantHeld(t, s, id, one)
	if e := server.Calls("evalsha") - evals; e != 5 {
		t.Errorf("Redis ran the script %d times, want 5", e)
	}
}

// However many replies are lost, no two callers are told that they made the same
// step, and no step that a caller made is lost.
func TestRedisLosesTheRepliesToRacingSwaps(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	s, direct := open(t, p.URL()), open(t, server.URL())
	id := created(t, s, []byte("0"))
	p.CutReplies(30, redistest.Command("EVALSHA"))
	const racers, steps = 8, 20
	ctx := inside(t, time.Minute)
	made := make([][]int, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			for len(made[i]) < steps {
				was, err := s.Get(ctx, id)
				if errors.Is(err, token.ErrUnavailable) && ctx.Err() == nil {
					continue // it shared a pipeline with three swaps that were cut
				}
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				var n int
				_, _ = fmt.Sscan(string(was), &n)
				err = s.Swap(ctx, id, was, fmt.Appendf(nil, "%d by %d", n+1, i), later(), later())
				switch {
				case err == nil:
					made[i] = append(made[i], n+1)
				case !errors.Is(err, token.ErrConflict) && !errors.Is(err, token.ErrUnavailable):
					t.Errorf("Swap: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	maker := map[int]int{}
	for i, all := range made {
		for _, n := range all {
			if other, ok := maker[n]; ok {
				t.Errorf("racers %d and %d were both told that they made step %d", i, other, n)
			}
			maker[n] = i
		}
	}
	var last int
	record, err := direct.Get(t.Context(), id)
	_, _ = fmt.Sscan(string(record), &last)
	if err != nil || last < racers*steps || p.Cut() != 30 {
		t.Errorf("the record is %q, %v, after %d steps that succeeded and %d lost replies", record, err, racers*steps, p.Cut())
	}
}

func TestRedisLosesOtherReplies(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	s := open(t, p.URL())
	id := created(t, s, one)
	p.CutReplies(2, redistest.Command("GET"))
	wantHeld(t, s, id, one)
	p.CutReplies(2, redistest.Command("EVALSHA"))
	if err := s.Delete(t.Context(), id, one); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := s.Get(t.Context(), id); !errors.Is(err, token.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if p.Cut() != 4 {
		t.Errorf("%d replies were lost, want 4", p.Cut())
	}
}

// A swap that was given up while Redis stood still is done when it goes on, unless
// its time has passed.
func TestRedisFrozenOverASwap(t *testing.T) {
	for name, c := range map[string]struct {
		patience time.Duration // of the swap, by its not-after
		want     []byte
	}{
		"its time has passed":     {50 * time.Millisecond, one},
		"its time is yet to come": {time.Hour, two},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			s, direct := open(t, server.URL()), open(t, server.URL())
			id := created(t, s, one)
			if err := s.Swap(t.Context(), id, one, one, later(), later()); err != nil { // so that Redis has the script
				t.Fatal(err)
			}
			evals := server.Calls("evalsha")
			now, err := s.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}

			server.Pause()
			wantUnavailable(t, "Swap", s.Swap(inside(t, 200*time.Millisecond), id, one, two, later(), now.Add(c.patience)))
			server.Resume() // only now: the call returned though Redis did not

			redistest.Eventually(t, "Redis to run the swap it was sent", func() bool { return server.Calls("evalsha") > evals })
			wantHeld(t, direct, id, c.want)
			wantHeld(t, s, id, c.want)
		})
	}
}

func TestRedisFrozenOrOutOfReach(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr())
	used, fresh := open(t, p.URL()), open(t, p.URL())
	wantHeld(t, used, created(t, used, one), one)
	for name, fault := range map[string]func(on bool){
		"frozen": func(on bool) {
			if on {
				server.Pause()
			} else {
				server.Resume()
			}
		},
		"black hole": p.Blackhole,
		"refused":    p.Refuse,
	} {
		t.Run(name, func(t *testing.T) {
			fault(true)
			defer fault(false)
			var wg sync.WaitGroup
			for _, s := range []*redis.Store{used, fresh} {
				for range 100 {
					wg.Go(func() {
						for call, err := range everyCall(t, s, 20*time.Millisecond) {
							wantUnavailable(t, call, err)
						}
					})
				}
			}
			wg.Wait() // while the fault lasts
			redistest.Eventually(t, "goroutines to end", func() bool { return clientGoroutines() <= 40 })
			fault(false)
			for _, s := range []*redis.Store{used, fresh} {
				redistest.Eventually(t, "the store to work again", func() bool {
					for _, err := range everyCall(t, s, 300*time.Millisecond) {
						if errors.Is(err, token.ErrUnavailable) {
							return false
						}
					}
					return true
				})
			}
		})
	}
}

func TestRedisForgetsTheScript(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL())
	id := created(t, s, one)
	for i, want := range []int{1, 1, 2} { // EVAL so far
		was, next := one, two
		if i%2 == 1 {
			was, next = two, one
		}
		if i == 2 {
			if err := server.Client().ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Swap(t.Context(), id, was, next, later(), later()); err != nil {
			t.Errorf("Swap: %v", err)
		}
		wantHeld(t, s, id, next)
		if n := server.Calls("eval"); n != want {
			t.Errorf("swap %d: %d EVAL so far, want %d", i, n, want)
		}
	}
}

func TestRedisRestarted(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL())
	created(t, s, one)
	server.Kill()
	for call, err := range everyCall(t, s, time.Second) {
		wantUnavailable(t, call, err)
	}
	server.Restart()
	redistest.Eventually(t, "the store to work again", func() bool {
		return !errors.Is(s.Delete(t.Context(), token.GrantID{}, nil), token.ErrUnavailable)
	})
	id := created(t, s, one)
	if err := s.Swap(t.Context(), id, one, two, later(), later()); err != nil {
		t.Errorf("Swap: %v", err)
	}
}

func TestRedisUnavailableAtFirst(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	s := open(t, server.URL())
	for call, err := range everyCall(t, s, time.Second) {
		wantUnavailable(t, call, err)
	}
	server.Restart()
	redistest.Eventually(t, "the store to work", func() bool {
		_, err := s.Now(t.Context())
		return err == nil && s.Delete(t.Context(), token.GrantID{}, nil) == nil
	})
}

func TestRedisFull(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL())
	id := created(t, s, one)
	if err := server.Client().ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, "Create", s.Create(t.Context(), token.GrantID{1}, one, later()))
	if n := server.Calls("eval"); n != 0 {
		t.Fatalf("Redis has the script already")
	}
	if err := s.Swap(t.Context(), id, one, two, later(), later()); err != nil { // EVAL
		t.Errorf("Swap: %v", err)
	}
	if err := s.Swap(t.Context(), id, two, one, later(), later()); err != nil { // EVALSHA
		t.Errorf("Swap: %v", err)
	}
	wantHeld(t, s, id, one)
	if err := s.Delete(t.Context(), id, two); !errors.Is(err, token.ErrConflict) { // EVAL
		t.Errorf("Delete of another record: %v", err)
	}
	if err := s.Delete(t.Context(), id, one); err != nil { // EVALSHA
		t.Errorf("Delete: %v", err)
	}
}

func TestRedisRefusesACommand(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL())
	id := created(t, s, one)
	if err := server.Client().Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, "Create on a replica", s.Create(t.Context(), token.GrantID{1}, one, later()))
	wantUnavailable(t, "Swap on a replica", s.Swap(t.Context(), id, one, two, later(), later()))
	wantUnavailable(t, "Delete on a replica", s.Delete(t.Context(), id, one))
	_, err := s.Get(t.Context(), id) // it answers what was true a while ago
	wantUnavailable(t, "Get on a replica", err)
	if err := server.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	if err := server.Client().Del(t.Context(), keyOf(id)).Err(); err != nil {
		t.Fatal(err)
	}
	if err := server.Client().LPush(t.Context(), keyOf(id), "no record").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the store to work again", func() bool { _, err := s.Now(t.Context()); return err == nil })
	_, err = s.Get(t.Context(), id)
	wantUnavailable(t, "Get of a list", err)
	wantUnavailable(t, "Swap of a list", s.Swap(t.Context(), id, one, two, later(), later()))
	wantUnavailable(t, "Delete of a list", s.Delete(t.Context(), id, one))
}

// Redis quotes the arguments of a command that it does not know: no error, which
// goes into the log, holds the id of a grant or its record.
func TestRedisErrorsHoldNoGrant(t *testing.T) {
	server := redistest.Start(t, "--rename-command", "SET", "", "--rename-command", "GET", "", "--rename-command", "EVALSHA", "", "--rename-command", "DEL", "")
	s := open(t, server.URL())
	id := token.GrantID{1, 2, 3}
	record := []byte("a-record-of-ours")
	_, getErr := s.Get(t.Context(), id)
	for call, err := range map[string]error{
		"Create": s.Create(t.Context(), id, record, later()),
		"Get":    getErr,
		"Swap":   s.Swap(t.Context(), id, record, record, later(), later()),
		"Delete": s.Delete(t.Context(), id, record),
	} {
		wantUnavailable(t, call, err)
		text := fmt.Sprint(err)
		if !strings.Contains(text, "unknown command") || strings.Contains(text, keyOf(id)[len(store.DefaultPrefix):]) || strings.Contains(text, string(record)) {
			t.Errorf("%s: %s", call, text)
		}
	}
}

// A primary that is made a replica keeps its connections, and would go on
// answering reads.
func TestRedisBecomesAReplica(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL())
	id := created(t, s, one)
	if err := server.Client().Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for what, read := range map[string]func() error{
		"Get": func() error { _, err := s.Get(t.Context(), id); return err },
		"Now": func() error { _, err := s.Now(t.Context()); return err },
	} {
		redistest.Eventually(t, what+" to be refused for good", func() bool {
			err := read()
			return errors.Is(err, redisconn.ErrReplica) && strings.Contains(err.Error(), "127.0.0.1:1")
		})
	}
	if err := server.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the store to work again", func() bool { _, err := s.Get(t.Context(), id); return err == nil })
}

// A Redis that has no ROLE says in INFO what it is.
func TestRedisWithoutRole(t *testing.T) {
	primary := redistest.Start(t, "--rename-command", "ROLE", "")
	host, port, _ := net.SplitHostPort(primary.Addr())
	replica := redistest.Start(t, "--rename-command", "ROLE", "", "--replicaof", host+" "+port)
	s := open(t, primary.URL())
	wantHeld(t, s, created(t, s, one), one)
	if err := s.CheckPermissions(t.Context()); err != nil {
		t.Errorf("CheckPermissions: %v", err)
	}
	if _, err := open(t, replica.URL()).Get(t.Context(), token.GrantID{}); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("Get on a replica: %v", err)
	}
}

func TestRedisCloses(t *testing.T) {
	server := redistest.Start(t)
	before := goleak.IgnoreCurrent()
	for _, frozen := range []bool{false, true} {
		s := open(t, server.URL())
		for range 3 {
			if err := s.Delete(t.Context(), token.GrantID{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if frozen {
			server.Pause()
			for call, err := range everyCall(t, s, 10*time.Millisecond) {
				wantUnavailable(t, call, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for call, err := range everyCall(t, s, 10*time.Second) {
			wantUnavailable(t, call, err)
		}
		goleak.VerifyNone(t, before)
	}
}

func BenchmarkRedis(b *testing.B) {
	server := redistest.Start(b)
	s := open(b, server.URL())
	record := bytes.Repeat([]byte{'x'}, 150)
	id := created(b, s, record)
	b.Run("Get", func(b *testing.B) {
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Get(b.Context(), id); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("Swap", func(b *testing.B) {
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := s.Swap(b.Context(), id, record, record, later(), later()); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// A call that the open breaker refuses: what each costs while Redis is unavailable.
func BenchmarkRefused(b *testing.B) {
	s := open(b, "redis://127.0.0.1:1")
	redistest.Eventually(b, "the breaker to open", func() bool {
		return errors.Is(s.Delete(b.Context(), token.GrantID{}, nil), redisconn.ErrBreakerOpen)
	})
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Delete(b.Context(), token.GrantID{}, nil)
	}
}
