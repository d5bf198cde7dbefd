package faults

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// The clocks of two processes are wrong by five minutes, one ahead and one behind. All
// processes agree on what has expired, whichever process issued it.
func TestWrongClocks(t *testing.T) {
	sideBySide(t)
	// The name by which a process is started says by how much its clock is wrong.
	wrongClocks(t, authsvctest.BuildPatched(t, authsvctest.ClockIsOff)).none(t)
	control(t, "the store's clock is ignored", func(t *testing.T) {
		f := wrongClocks(t, authsvctest.BuildPatched(t, authsvctest.ClockIsOff, authsvctest.StoreClockIsIgnored))
		f.some(t, "the processes do not agree")
		f.some(t, "refresh")
	})
}

// wrongClock is a process whose clock is wrong by off.
type wrongClock struct {
	*authsvctest.Server
	off time.Duration
}

func wrongClocks(t *testing.T, binary string) *findings {
	const ttl = "5s"
	f := &findings{}
	r := redistest.Start(t)
	site := authsvctest.NewSite(t)
	all := []wrongClock{{off: 0}, {off: 5 * time.Minute}, {off: -5 * time.Minute}}
	for i, c := range all {
		named := filepath.Join(t.TempDir(), c.off.String())
		if err := os.Symlink(binary, named); err != nil {
			t.Fatal(err)
		}
		all[i].Server = site.StartBinary(named, r.URL(), append([]string{"--access-ttl", ttl, "--refresh-ttl", ttl}, authsvctest.Patient...)...)
		all[i].WaitReady()
		found := all[i].Stderr.Event(t, "the token store answers", all[i].Ended)["clock_offset"].(float64)
		if math.Abs(found+c.off.Seconds()) > 1 {
			f.add("with a clock that is wrong by %v, the store's is %v s ahead", c.off, found)
		}
	}

	// Each accepts what the others issue.
	for i, c := range all {
		a := c.Issue(authsvctest.Worker)
		for j := range all {
			next := all[(i+j+1)%len(all)]
			a = next.Refresh(authsvctest.Worker, a.Pair().Refresh)
			f.want(fmt.Sprintf("refresh at %v of a grant of %v", next.off, c.off), a, 200, "")
		}
	}

	tokens := make([]*witnessed, len(all))
	for i, c := range all {
		tokens[i] = &witnessed{issuer: c.off, pair: c.Issue(authsvctest.Worker).Pair(), said: map[time.Duration]string{}}
	}
	for open := len(tokens); open > 0; time.Sleep(50 * time.Millisecond) {
		open = 0
		for _, w := range tokens {
			if !w.judged() {
				open++
				w.introspect(t, f, all)
			}
		}
	}
	for _, w := range tokens {
		if w.lapses > agreement {
			f.add("the processes do not agree on a token of %v, %d rounds after the first called it expired: %v", w.issuer, w.lapses, w.said)
			continue
		}
		// The refresh token has the same lifetime.
		for _, c := range all {
			f.want(fmt.Sprintf("refresh at %v of what is expired", c.off), c.Refresh(authsvctest.Worker, w.pair.Refresh), 401, "APIG.1001")
		}
		// The store and the test have the same clock.
		apart, early, late := w.lastActive.Sub(w.firstLapsed), w.expires.Sub(w.firstLapsed), w.lastActive.Sub(w.expires)
		figure(t, "clocks: a token issued at %v: last active %v after first expired; expired %v early, active %v late (negative: not)",
			w.issuer, apart.Round(time.Millisecond), early.Round(time.Millisecond), late.Round(time.Millisecond))
		if *full && max(apart, early, late) > time.Second {
			f.add("the processes do not agree within a second on a token of %v: %v, %v, %v", w.issuer, apart, early, late)
		}
	}
	return f
}

// agreement is the maximum number of rounds from the first process that says "expired"
// until all do.
const agreement = 20

// witnessed is a token, and what the processes said about it.
type witnessed struct {
	issuer  time.Duration // by how much its clock is wrong
	pair    authsvctest.Pair
	expires time.Time                // as its introspection says
	said    map[time.Duration]string // last, by process
	lapses  int                      // rounds since the first process called it expired
	rounds  int                      // rounds in all
	// Among all processes: the time before the last request that got "active", and
	// after the first that got "expired".
	lastActive, firstLapsed time.Time
}

// judged reports whether all call the token expired, or have had enough rounds to.
func (w *witnessed) judged() bool {
	expired := 0
	for _, s := range w.said {
		if s == "expired" {
			expired++
		}
	}
	return expired > 0 && expired == len(w.said) || w.lapses > agreement
}

// introspect introspects the token at each process, once.
func (w *witnessed) introspect(t *testing.T, f *findings, all []wrongClock) {
	t.Helper()
	if w.rounds++; w.rounds > 20*agreement {
		t.Fatalf("a token of %v does not expire: %v", w.issuer, w.said)
	}
	for _, c := range all {
		sent := time.Now()
		a := c.Introspect(w.pair.Access)
		before := w.said[c.off]
		switch {
		case a.Active():
			w.said[c.off], w.lastActive = "active", sent
			var body struct {
				Exp int64 `json:"exp"`
			}
			if err := json.Unmarshal(a.Body, &body); err != nil {
				t.Fatal(err)
			}
			w.expires = time.Unix(body.Exp, 0)
			if before == "expired" {
				f.add("%v called a token of %v expired, and then active", c.off, w.issuer)
			}
		case a.Text("error_code") == "APIG.1002":
			w.said[c.off] = "expired"
			if w.firstLapsed.IsZero() {
				w.firstLapsed = time.Now()
			}
			if before == "" {
				f.add("%v never called a token of %v active", c.off, w.issuer)
			}
		default:
			f.add("introspect at %v of a token of %v: %d %s", c.off, w.issuer, a.Status, a.Body)
		}
	}
	if !w.firstLapsed.IsZero() {
		w.lapses++
	}
}
