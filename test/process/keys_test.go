package process

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
	"authsvc/internal/token"
)

const (
	readAgain = "a changed file was reloaded"
	refused   = "a changed file was refused; the previous version stays in use"
)

// replicas are three processes that share a keyring and a Redis.
type replicas struct {
	t       *testing.T
	site    *authsvctest.Site
	servers [3]*authsvctest.Server
}

func startReplicas(t *testing.T) *replicas {
	r := &replicas{t: t, site: authsvctest.NewSite(t)}
	redis := redistest.Start(t)
	for i := range r.servers {
		r.servers[i] = r.site.Serve(redis.URL(), authsvctest.Patient...)
	}
	return r
}

// keys runs authsvc keys on the shared keyring.
func (r *replicas) keys(args ...string) {
	r.t.Helper()
	command(r.t, append([]string{"keys"}, append(args, "--keys", r.site.Keys)...)...)
}

// each waits until every process has logged an event this many times.
func (r *replicas) each(event string, times int) {
	r.t.Helper()
	for _, s := range r.servers {
		redistest.Eventually(r.t, event, func() bool { return s.Stderr.Count(event) == times })
	}
}

// issue gets a token from every process, and returns the ids of the keys that signed
// them.
func (r *replicas) issue() (pairs []authsvctest.Pair, signed []byte) {
	r.t.Helper()
	for _, s := range r.servers {
		a := s.Issue(authsvctest.Worker)
		authsvctest.Want(r.t, "issue", a, 200, "")
		c, err := token.Decode(a.Pair().Access)
		if err != nil {
			r.t.Fatal(err)
		}
		pairs, signed = append(pairs, a.Pair()), append(signed, c.KeyID)
	}
	return pairs, signed
}

// good checks that every process accepts every token.
func (r *replicas) good(when string, pairs ...authsvctest.Pair) {
	r.t.Helper()
	for i, s := range r.servers {
		for _, p := range pairs {
			if a := s.Introspect(p.Access); !a.Active() {
				c, _ := token.Decode(p.Access)
				r.t.Fatalf("%s: process %d refuses a token of key %d: %s", when, i, c.KeyID, a.Body)
			}
		}
	}
}

// Tokens from before, during and after a rotation are valid at every process, and so
// are refreshes across processes; nobody notices the rotation.
func TestRotationIsNotNoticed(t *testing.T) {
	t.Parallel()
	r := startReplicas(t)
	all, signed := r.issue()
	if !bytes.Equal(signed, []byte{1, 1, 1}) {
		t.Fatalf("signed by %v", signed)
	}

	// All processes know a waiting key, and none signs with it.
	r.keys("rotate")
	r.each(readAgain, 1)
	during, signed := r.issue()
	if !bytes.Equal(signed, []byte{1, 1, 1}) {
		t.Errorf("a waiting key signs: %v", signed)
	}
	all = append(all, during...)

	// From here on, each process begins to use it once it has reloaded the file.
	r.keys("rotate", "--now")
	redistest.Eventually(t, "the new key to sign everywhere", func() bool {
		now, signed := r.issue()
		all = append(all, now...)
		r.good("during", now...)
		return bytes.Equal(signed, []byte{2, 2, 2})
	})
	// This key signs within seconds, and nobody knew it before.
	r.keys("rotate", "--now")
	redistest.Eventually(t, "the third key to sign everywhere", func() bool {
		now, signed := r.issue()
		all = append(all, now...)
		r.good("during", now...)
		return bytes.Equal(signed, []byte{3, 3, 3})
	})
	r.good("after", all...)
	for i, p := range all[:6] {
		a := r.servers[(i+1)%3].Refresh(authsvctest.Worker, p.Refresh)
		authsvctest.Want(t, "refresh of an old token", a, 200, "")
		r.good("after its refresh", a.Pair())
	}
	for i, s := range r.servers {
		if n := s.Stderr.Count(refused); n != 0 {
			t.Errorf("process %d refused %d keyrings", i, n)
		}
	}
}

// keyless returns a keyring file from which a key was removed by hand.
func keyless(t *testing.T, file []byte, id float64) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(file, &m); err != nil {
		t.Fatal(err)
	}
	var left []any
	for _, k := range m["keys"].([]any) {
		if k.(map[string]any)["id"] != id {
			left = append(left, k)
		}
	}
	m["keys"] = left
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A keyring that is damaged, or lacks a key whose tokens can still be alive, is refused
// whole by every process; a key that is dropped on purpose ends at once, and an old
// copy of the file does not bring it back.
func TestDropEndsAKeyAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	r := startReplicas(t)
	old, _ := r.issue()
	authsvctest.RotateSoon(t, r.site.Keys)
	r.each(readAgain, 1)
	recent, signed := r.issue()
	if !bytes.Equal(signed, []byte{2, 2, 2}) {
		t.Fatalf("signed by %v", signed)
	}
	both, err := os.ReadFile(r.site.Keys)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(r.site.Keys, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, bad := range [][]byte{keyless(t, both, 1), keyless(t, both, 2), both[:len(both)/2]} {
		write(bad)
		r.each(refused, i+1)
		r.good("with a bad keyring", append(old, recent...)...)
	}

	write(both)
	r.keys("drop", "1") // before any process has reloaded the file
	r.each(readAgain, 2)
	for _, s := range r.servers {
		for _, p := range old {
			authsvctest.Want(t, "a token of the dropped key", s.Verify(p.Access, ""), 400, "APIG.2203")
			authsvctest.Want(t, "a refresh token of the dropped key", s.Refresh(authsvctest.Worker, p.Refresh), 400, "APIG.2202")
		}
	}
	r.good("after the drop", recent...)
	authsvctest.Want(t, "refresh of another key's token", r.servers[0].Refresh(authsvctest.Worker, recent[1].Refresh), 200, "")

	dropped, err := os.ReadFile(r.site.Keys)
	if err != nil {
		t.Fatal(err)
	}
	write(both)
	r.each(refused, 4)
	authsvctest.Want(t, "with an old copy of the keyring", r.servers[0].Verify(old[0].Access, ""), 400, "APIG.2203")

	// The signing key can be dropped as well; if it is the only one, its replacement
	// signs at once.
	write(dropped)
	r.keys("drop", "2", "--replace")
	r.each(readAgain, 3)
	last, signed := r.issue()
	if !bytes.Equal(signed, []byte{3, 3, 3}) {
		t.Errorf("signed by %v", signed)
	}
	r.good("after the second drop", last...)
	authsvctest.Want(t, "a token of the second dropped key", r.servers[1].Verify(recent[0].Access, ""), 400, "APIG.2203")
}
