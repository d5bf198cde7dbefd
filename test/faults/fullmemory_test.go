package faults

import (
	"context"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// A Redis at its memory limit accepts no new grants, and each caller is told so.
// Existing grants can still be read, rotated and revoked.
func TestFullMemory(t *testing.T) {
	sideBySide(t)
	fullMemory(t, authsvctest.Binary(t)).none(t)
	control(t, "the swap is a script without allow-oom", func(t *testing.T) {
		f := fullMemory(t, authsvctest.BuildPatched(t, authsvctest.SwapNeedsMemory))
		f.some(t, "refresh on a full Redis: 503")
		f.some(t, "revoke an access token on a full Redis: 503")
	})
}

func fullMemory(t *testing.T, binary string) *findings {
	f := &findings{}
	r := redistest.Start(t, "--maxmemory-policy", "noeviction")
	limit := func(maxmemory string) {
		if err := r.Client().ConfigSet(context.Background(), "maxmemory", maxmemory).Err(); err != nil {
			t.Fatal(err)
		}
	}
	site := authsvctest.NewSite(t)
	s := site.StartBinary(binary, r.URL(), authsvctest.Patient...)
	s.WaitReady()
	// Enough of each kind for every caller to have its own.
	pairs := make([]authsvctest.Pair, size(4, 100))
	for i := range pairs {
		pairs[i] = s.Issue(authsvctest.Worker).Pair()
	}

	limit("1") // one byte: Redis always holds more
	start := time.Now()
	for i, p := range pairs {
		a := s.Issue(authsvctest.Worker)
		if f.want("issue on a full Redis", a, 503, "APIG.0613") && a.Header.Get("Retry-After") == "" {
			f.add("issue on a full Redis: no Retry-After")
		}
		f.active("introspect on a full Redis", s.Introspect(p.Access))
		if a = s.Refresh(authsvctest.Worker, p.Refresh); !f.want("refresh on a full Redis", a, 200, "") {
			f.want("revoke an access token on a full Redis", s.Revoke(authsvctest.Worker, p.Access), 200, "")
			continue
		}
		if b := s.Refresh(authsvctest.Worker, p.Refresh); b.Pair() != a.Pair() {
			f.add("refresh on a full Redis, repeated: %s, not %s", b.Body, a.Body)
		}
		pairs[i] = a.Pair()
		f.active("introspect a new token", s.Introspect(pairs[i].Access))
		if i%2 == 0 {
			f.want("revoke an access token on a full Redis", s.Revoke(authsvctest.Worker, pairs[i].Access), 200, "")
		} else {
			f.want("revoke a refresh token on a full Redis", s.Revoke(authsvctest.Worker, pairs[i].Refresh), 200, "")
			f.want("refresh what was revoked", s.Refresh(authsvctest.Worker, pairs[i].Refresh), 400, "APIG.2202")
		}
		f.inactive("introspect what was revoked", s.Introspect(pairs[i].Access), "APIG.2203")
	}
	// If it were not ready, all processes at once would fail the callers that they can
	// still serve.
	if !s.Ready() {
		f.add("not ready on a full Redis")
	}
	late := site.StartBinary(binary, r.URL(), authsvctest.Patient...)
	late.WaitReady()
	f.inactive("introspect what was revoked, at a new process", late.Introspect(pairs[0].Access), "APIG.2203")
	figure(t, "full memory: %d rounds (issue refused; introspect, refresh twice, revoke, introspect twice done) in %v",
		len(pairs), time.Since(start).Round(time.Millisecond))

	limit("0")
	f.want("issue once there is room", s.Issue(authsvctest.Worker), 200, "")
	for i, p := range pairs {
		if i%2 == 0 { // only its access token was revoked
			f.want("refresh once there is room", s.Refresh(authsvctest.Worker, p.Refresh), 200, "")
		}
	}
	if n, want := len(redistest.Grants(r.Dump())), 1+(len(pairs)+1)/2; n != want {
		f.add("%d grants are left, want %d", n, want)
	}
	return f
}
