package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// A Redis that loads a large append-only file after a restart does not know its keys
// yet. Until it does, no token is reported as unknown, and the process is not ready.
func TestLoading(t *testing.T) {
	sideBySide(t)
	loading(t, authsvctest.Binary(t), *full).none(t)
	control(t, "an unreadable record is taken for a missing one, and readiness uses TIME", func(t *testing.T) {
		f := loading(t, authsvctest.BuildPatched(t, authsvctest.UnreadableIsAbsent), false)
		f.some(t, "while loading, introspect")
		f.some(t, "while loading, refresh")
		f.some(t, "while loading, ready")
	})
}

// loading restarts Redis with a large file, or with a small one that it loads slowly.
func loading(t *testing.T, binary string, large bool) *findings {
	f := &findings{}
	ctx := context.Background()
	args := []string{"--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "local"}
	fillers := 100_000
	if !large { // 1 ms a key; clients are served after each KiB
		fillers = 100
		args = append(args, "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
	}
	r := redistest.Start(t, args...)
	info := func(want string) bool { return strings.Contains(r.Client().Info(ctx, "persistence").Val(), want) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := authsvctest.NewSite(t).StartBinary(binary, r.URL(), authsvctest.Patient...)
	s.WaitReady()
	// Half of the grants are in the base file, the others in the appended part.
	pairs := []authsvctest.Pair{s.Issue(authsvctest.Worker).Pair(), s.Issue(authsvctest.Worker).Pair()}
	for i := range 20 {
		must(r.Client().Do(ctx, "DEBUG", "POPULATE", fillers, fmt.Sprintf("filler:%d", i), 100).Err())
	}
	must(r.Client().BgRewriteAOF(ctx).Err())
	redistest.Eventually(t, "the append-only file to be rewritten", func() bool {
		return info("aof_rewrite_in_progress:0") && info("aof_rewrite_scheduled:0") && info("aof_last_bgrewrite_status:ok")
	})
	pairs = append(pairs, s.Issue(authsvctest.Worker).Pair(), s.Issue(authsvctest.Worker).Pair())
	keys := r.Client().DBSize(ctx).Val()

	r.Kill()
	started := make(chan struct{})
	go func() {
		defer close(started)
		r.Restart() // returns once everything is loaded
	}()
	defer func() { <-started }()
	isLoading := func() bool { return info("loading:1") }
	redistest.Eventually(t, "Redis to be loading", isLoading)
	start, rounds := time.Now(), 0
	for rounds < size(3, 1000) {
		i, round := rounds%len(pairs), &findings{}
		p := pairs[i]
		issued := s.Issue(authsvctest.Worker)
		for what, a := range map[string]authsvctest.Answer{
			"issue":      issued,
			"introspect": s.Introspect(p.Access),
			"verify":     s.Verify(p.Access, ""),
			"refresh":    s.Refresh(authsvctest.Worker, p.Refresh),
			"revoke":     s.Revoke(authsvctest.Worker, p.Access),
		} {
			round.want("while loading, "+what, a, 503, "APIG.0613")
		}
		if s.Ready() {
			round.add("while loading, ready")
		}
		if !isLoading() {
			pairs = slices.Delete(pairs, i, i+1) // some of its requests may have been served
			if issued.Status == 200 {
				keys++
			}
			break
		}
		f.join(round)
		rounds++
	}
	if rounds == 0 {
		t.Fatal("Redis had loaded before one round was done")
	}
	<-started
	figure(t, "loading: %d keys in %v or more, meanwhile %d rounds of six requests", keys, time.Since(start).Round(time.Millisecond), rounds)

	s.WaitReady()
	if n := r.Client().DBSize(ctx).Val(); n != keys && n != keys+1 { // with the list of its outages
		f.add("%d of %d keys exist after loading", n, keys)
	}
	for _, p := range pairs {
		f.active("introspect after loading", s.Introspect(p.Access))
		a := s.Refresh(authsvctest.Worker, p.Refresh)
		f.want("refresh after loading", a, 200, "")
		f.active("introspect what was refreshed after loading", s.Introspect(a.Pair().Access))
		f.want("revoke after loading", s.Revoke(authsvctest.Worker, a.Pair().Access), 200, "")
		f.inactive("introspect what was revoked after loading", s.Introspect(a.Pair().Access), "APIG.2203")
	}
	if n := s.Stderr.Count("refresh_replayed"); n > 0 {
		f.add("%d refreshes were taken for replays", n)
	}
	return f
}
