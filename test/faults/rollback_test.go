package faults

import (
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// pairOfServers starts two processes with a build.
func pairOfServers(t *testing.T, binary, store string) [2]*authsvctest.Server {
	t.Helper()
	site := authsvctest.NewSite(t)
	servers := [2]*authsvctest.Server{site.StartBinary(binary, store), site.StartBinary(binary, store)}
	for _, s := range servers {
		s.WaitReady()
	}
	return servers
}

// holder refreshes its token at one process after the other, and keeps the newest pair. A
// request without a verdict is sent again, unchanged.
type holder struct {
	servers [2]*authsvctest.Server
	next    int
	pair    authsvctest.Pair
}

// refresh adds a finding, and returns false, if it is refused.
func (h *holder) refresh(found *findings, what string) bool {
	for {
		s := h.servers[h.next%2]
		h.next++
		a, err := s.Post("/oauth/token", authsvctest.Worker, "grant_type", "refresh_token", "refresh_token", h.pair.Refresh)
		switch {
		case err == nil && a.Status == 200:
			h.pair = a.Pair()
			return true
		case err == nil && a.Status == 503:
			time.Sleep(5 * time.Millisecond) // sooner than Retry-After says, so that more of them meet the restart
		default:
			found.add("%s: %v %d %s", what, err, a.Status, a.Body)
			return false
		}
	}
}

// olderSnapshot restarts the primaries of a place with what they held a while ago, while
// holders of a grant each refresh it without a pause.
func olderSnapshot(t *testing.T, binary string, p place) *findings {
	t.Helper()
	const holders = 24
	servers, found := pairOfServers(t, binary, p.url), &findings{}
	all := make([]*holder, holders)
	for i := range all {
		all[i] = &holder{servers: servers, next: i, pair: servers[0].Issue(authsvctest.Worker).Pair()}
		all[i].refresh(found, "before the snapshot")
	}
	rollback := p.snapshot()

	lap := size(5, 50)
	var refreshed [holders]atomic.Int64
	over := make(chan struct{})
	gone := make(chan int)
	for i, h := range all {
		go func() {
			defer func() { gone <- i }()
			for h.refresh(found, "a holder is refused") {
				refreshed[i].Add(1)
				select {
				case <-over:
					return
				default:
				}
			}
			refreshed[i].Store(1 << 30) // it is out
		}()
	}
	everybody := func(n int) {
		redistest.Eventually(t, "everybody to refresh", func() bool {
			for i := range refreshed {
				if refreshed[i].Load() < int64(n) {
					return false
				}
			}
			return true
		})
	}
	everybody(lap)
	rollback()
	var before int64
	for i := range refreshed {
		before = max(before, refreshed[i].Load())
	}
	everybody(int(before) + lap)
	close(over)
	for range all {
		<-gone
	}
	for _, h := range all {
		found.active("the newest access token", servers[0].Introspect(h.pair.Access))
	}
	healed, replays := 0, 0
	for _, s := range servers {
		healed += s.Stderr.Count("grant_healed")
		replays += s.Stderr.Count("refresh_replayed")
	}
	if replays > 0 {
		found.add("%d replays were reported", replays)
	}
	if healed == 0 {
		found.add("no grant was healed")
	}
	figure(t, "%d holders, %d grants healed, %d refused", holders, healed, len(found.all))
	return found
}

// A Redis that comes back with an older snapshot has lost rotations of everybody. Nobody
// is logged out, although everybody refreshes all the time.
func TestOlderSnapshot(t *testing.T) {
	sideBySide(t)
	everywhere(t, func(t *testing.T, p place) { olderSnapshot(t, authsvctest.Binary(t), p).none(t) })

	control(t, "a token that is newer than its grant is refused", func(t *testing.T) {
		olderSnapshot(t, authsvctest.BuildPatched(t, authsvctest.NewerTokenIsForged), places["single"](t)).some(t, "a holder is refused")
	})
}

// twoHolders is the shortest history in which a rollback used to make a holder look like a
// thief.
func twoHolders(t *testing.T, binary string, p place) *findings {
	t.Helper()
	servers, found := pairOfServers(t, binary, p.url), &findings{}
	first := servers[0].Issue(authsvctest.Worker).Pair()
	c1, c2 := &holder{servers: servers, pair: first}, &holder{servers: servers, next: 1, pair: first}
	rollback := p.snapshot()
	c1.refresh(found, "the first holder")
	c1.refresh(found, "the first holder")
	rollback()
	for _, s := range servers {
		s.WaitReady()
	}
	c2.refresh(found, "the second holder, after the rollback")
	c1.refresh(found, "the first holder, whose token is newer than its grant")
	c1.refresh(found, "the first holder goes on")
	found.want("the second holder's token is of a line that is over", servers[0].Refresh(authsvctest.Worker, c2.pair.Refresh), 400, refreshInvalid)
	found.active("the first holder's access token", servers[1].Introspect(c1.pair.Access))
	c1.refresh(found, "the first holder, after the second")
	for _, s := range servers {
		if n := s.Stderr.Count("refresh_replayed"); n > 0 {
			found.add("%d replays were reported", n)
		}
	}
	return found
}

// Two holders of one grant, one of them in a line that the store lost: the other is not
// logged out by it, and nobody takes it for a theft.
func TestTwoHoldersAndARollback(t *testing.T) {
	sideBySide(t)
	everywhere(t, func(t *testing.T, p place) { twoHolders(t, authsvctest.Binary(t), p).none(t) })

	control(t, "a token of a lost line is taken for a replay", func(t *testing.T) {
		twoHolders(t, authsvctest.BuildPatched(t, authsvctest.LostLineIsReplay), places["single"](t)).some(t, "the first holder, after the second")
	})
}

// lostNarrowing narrows a grant, and loses that.
func lostNarrowing(t *testing.T, binary string, p place) *findings {
	t.Helper()
	servers, found := pairOfServers(t, binary, p.url), &findings{}
	wide := servers[0].Issue(authsvctest.Worker, "through_data", "tenant=1").Pair()
	rollback := p.snapshot()
	change := []string{"scope", "orders.read", "through_data", "tenant=2"}
	narrow := servers[0].Refresh(authsvctest.Worker, wide.Refresh, change...).Pair()
	found.active("the narrow access token", servers[1].Introspect(narrow.Access))
	found.inactive("the wide access token", servers[1].Introspect(wide.Access), accessInvalid)
	rollback()
	for _, s := range servers {
		s.WaitReady()
	}
	found.inactive("the narrow access token would be wide", servers[1].Introspect(narrow.Access), accessInvalid)
	found.want("a refresh would be wide", servers[0].Refresh(authsvctest.Worker, narrow.Refresh), 400, refreshInvalid)
	a := servers[1].Refresh(authsvctest.Worker, narrow.Refresh, change...)
	if found.want("a refresh that asks for the same again", a, 200, "") {
		i := servers[0].Introspect(a.Pair().Access)
		if !i.Active() || i.Text("scope") != "orders.read" || i.Text("through_data") != "tenant=2" {
			found.add("the new access token: %s", i.Body)
		}
		found.inactive("the wide access token, then", servers[0].Introspect(wide.Access), accessInvalid)
	}
	return found
}

// A failover that loses a change of scope and through_data does not undo it for those who
// hold the tokens of the change.
func TestLostNarrowing(t *testing.T) {
	sideBySide(t)
	everywhere(t, func(t *testing.T, p place) { lostNarrowing(t, authsvctest.Binary(t), p).none(t) })

	control(t, "a token does not say what it was given out for", func(t *testing.T) {
		lostNarrowing(t, authsvctest.BuildPatched(t, authsvctest.ChangesAreForgotten), places["single"](t)).some(t, "the narrow access token would be wide")
	})
}
