package faults

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"authsvc/internal/authsvctest"
	"authsvc/internal/token"
)

type grantID = token.GrantID

// fault is a promise that a history shows to be broken.
type fault string

// The faults.
const (
	doubleSpent fault = "refresh tokens spent twice: one got different pairs"
	lost        fault = "acknowledged tokens lost: refused, though nothing had ended them"
	revived     fault = "tokens valid after their revocation was acknowledged"
	unexplained fault = "grants whose history no order of the requests explains"
	undecided   fault = "grants whose history could not be checked in time"
	strange     fault = "answers that are neither a verdict nor " + unavailable
)

// rules are the rules of the store that a history comes from.
type rules struct {
	// late is how long after its answer a write of unknown outcome may still be done:
	// what is left of the deadline, plus the error of a clock. (A deletion has no such
	// limit: it is safe if it comes late.)
	late time.Duration
	// lossy says that the store may lose acknowledged writes in a failover. Then a
	// refresh may be done twice and a revocation undone; what remains is that nobody is
	// logged out. Only a whole grant may be lost, if no replica had it: unless its issue
	// was answered before the failover began, or was asked for after over, when only the
	// new primary can have answered (0: that is not known).
	lossy       bool
	began, over time.Duration
}

// defaultLate is late for the default deadline of 300 ms. The clock of the store is
// known to within half a round trip, which takes at most as long.
const defaultLate = 300*time.Millisecond + 150*time.Millisecond + 50*time.Millisecond

// verdict is what judge found in a history.
type verdict struct {
	servers          []*authsvctest.Server // whose history it is; none if it was made by hand
	attempts, grants int
	made             map[grantID]attempt // how each grant began, as far as the history says
	faults           map[fault][]occurrence
}

// occurrence is one case of a fault.
type occurrence struct {
	what  string
	grant []attempt // the whole history of the grant
}

func (v verdict) find(f fault, grant []attempt, format string, args ...any) {
	for _, a := range grant[:min(1, len(grant))] {
		if first, ok := v.made[grantOf(a)]; ok && a.deed != issue {
			grant = append([]attempt{first}, grant...)
		}
	}
	v.faults[f] = append(v.faults[f], occurrence{fmt.Sprintf(format, args...), grant})
}

// acquit fails the test if there is any fault. It shows one of each kind, with the whole
// history of its grant and what each server counted and logged about it.
func (v verdict) acquit(t *testing.T) {
	t.Helper()
	for f, found := range v.faults {
		first := found[0]
		t.Errorf("%d %s, such as: %s, in\n%s", len(found), f, first.what, listing(first.grant))
		for i, s := range v.servers {
			t.Logf("server %d counted:\n%s\nand logged about this grant, or as a warning:\n%s", i, s.Counters(), s.Stderr.About(tokenIDs(first.grant)...))
		}
	}
	figure(t, "judged %d attempts at %d grants: %d kinds of fault", v.attempts, v.grants, len(v.faults))
}

// convict runs a negative control, and fails the test unless the judge finds the fault.
// Whether a missing protection shows is up to chance, so there are three tries.
func convict(t *testing.T, f fault, run func() verdict) {
	t.Helper()
	for range 3 {
		v := run()
		for other, found := range v.faults {
			figure(t, "without the protection: %d %s", len(found), other)
		}
		if len(v.faults[f]) > 0 {
			return
		}
	}
	t.Errorf("without the protection the judge found no %s", f)
}

// judge returns what is wrong with the history of a service.
func (s *service) judge(r rules) verdict {
	v := judge(s.history(), r)
	v.servers = s.servers
	return v
}

// judge returns what is wrong with a history.
func judge(history []attempt, r rules) verdict {
	grants := map[grantID][]attempt{}
	for _, a := range history {
		if a.token != "" {
			grants[grantOf(a)] = append(grants[grantOf(a)], a)
		}
	}
	v := verdict{attempts: len(history), grants: len(grants), made: map[grantID]attempt{}, faults: map[fault][]occurrence{}}
	for _, a := range history {
		if a.deed == issue && a.outcome == done {
			v.made[grantOf(a)] = a
		}
	}
	for _, a := range history {
		if isStrange(a) && a.token == "" {
			v.find(strange, []attempt{a}, "%s", a)
		} else if isStrange(a) {
			v.find(strange, grants[grantOf(a)], "%s", a)
		}
	}
	for id, g := range grants {
		if r.lossy {
			// One that was asked for before it began and answered after that can have
			// been created after that.
			if a := v.made[id]; a.back <= r.began || r.over > 0 && a.call >= r.over {
				v.findLost(g)
			}
			continue
		}
		guilty := v.findLost(g)
		guilty = v.findDoubleSpent(g) || guilty
		guilty = v.findRevived(g) || guilty
		if guilty {
			continue // no need to look for an order
		}
		switch explain(g, r.late) {
		case porcupine.Ok:
		case porcupine.Illegal:
			v.find(unexplained, g, "see")
		case porcupine.Unknown:
			v.find(undecided, g, "see")
		}
	}
	return v
}

func isStrange(a attempt) bool {
	switch a.code {
	case "":
		return a.outcome == refused
	case unavailable:
		return false
	case refreshInvalid:
		return a.deed != refresh
	case accessInvalid:
		return a.deed != check
	}
	return true
}

// findDoubleSpent looks for refresh tokens with more than one successor.
func (v verdict) findDoubleSpent(grant []attempt) (found bool) {
	successors := map[string][]authsvctest.Pair{}
	for _, a := range grant {
		if a.deed != refresh || a.outcome != done || slices.Contains(successors[a.token], a.pair) {
			continue
		}
		successors[a.token] = append(successors[a.token], a.pair)
		if len(successors[a.token]) == 2 {
			found = true
			v.find(doubleSpent, grant, "refresh token %d", claims(a.token).Serial)
		}
	}
	return found
}

// findLost looks for tokens that were refused although no caller can have caused that.
// Every token of a history was acknowledged: how else would a caller present it?
func (v verdict) findLost(grant []attempt) (found bool) {
	seen := map[string]bool{}
	for _, a := range grant {
		if a.outcome != refused || a.deed == revoke || seen[a.token] {
			continue
		}
		serial := claims(a.token).Serial
		if slices.ContainsFunc(grant, func(b attempt) bool {
			c := claims(b.token)
			return b.call < a.back && (b.deed == revoke && c.Kind == token.Refresh ||
				a.deed == check && b.deed == revoke && c.Serial >= serial ||
				a.deed == refresh && b.deed == refresh && c.Serial > serial)
		}) {
			continue
		}
		seen[a.token], found = true, true
		v.find(lost, grant, "%s", a)
	}
	return found
}

// findRevived looks for tokens that were valid after their revocation had been
// acknowledged.
func (v verdict) findRevived(grant []attempt) (found bool) {
	seen := map[string]bool{}
	for _, r := range grant {
		if r.deed != revoke || r.outcome != done {
			continue
		}
		ended := claims(r.token)
		for _, a := range grant {
			if a.call > r.back && a.outcome == done && !seen[a.token] &&
				(ended.Kind == token.Refresh && a.deed != revoke || a.deed == check && claims(a.token).Serial <= ended.Serial) {
				seen[a.token], found = true, true
				v.find(revived, grant, "%s", a)
			}
		}
	}
	return found
}

// explain looks for an order of the requests for one grant that explains all answers,
// each request being done at one moment between its call and its answer
// (linearizability; Herlihy and Wing 1990).
func explain(grant []attempt, late time.Duration) porcupine.CheckResult {
	var ops []porcupine.Operation
	for _, a := range merged(grant, late) {
		ops = append(ops, porcupine.Operation{ClientId: a.server, Input: a, Call: int64(a.call), Return: int64(a.back)})
	}
	return porcupine.CheckOperationsTimeout(model.ToModel(), ops, explainPatience)
}

const explainPatience = 10 * time.Second

// merged extends requests of unknown outcome by the time in which they can have been
// done, and merges identical ones that overlap in time: at most one of them changes
// anything, so no order is lost, and there are far fewer orders.
func merged(grant []attempt, late time.Duration) []attempt {
	var all []attempt
	open := map[wish]int{} // the index in all of the latest of its kind
	for _, a := range slices.SortedFunc(slices.Values(grant), func(a, b attempt) int { return cmp.Compare(a.call, b.call) }) {
		if a.outcome == unknown {
			switch {
			case a.deed == check:
				continue
			case a.deed == revoke && claims(a.token).Kind == token.Refresh:
				a.back = math.MaxInt64
			default:
				a.back += late
			}
			w := wish{a.deed, a.token}
			if i, ok := open[w]; ok && a.call <= all[i].back {
				all[i].back = max(all[i].back, a.back)
				continue
			}
			open[w] = len(all)
		}
		all = append(all, a)
	}
	return all
}

// state is what a grant should be.
type state struct {
	serial, lowest uint32 // of the current pair; of the oldest valid access token
	dead           bool
}

// model models a grant: the refresh table of the design, during the grace.
var model = porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{serial: 1, lowest: 1}} },
	Step: func(was, input, _ any) []any {
		var next []any
		for _, s := range was.(state).after(input.(attempt)) {
			next = append(next, s)
		}
		return next
	},
}

// after returns the possible states of the grant after a request with this answer; none
// if the answer is impossible.
func (s state) after(a attempt) []state {
	c, dead := claims(a.token), state{dead: true}
	n := c.Serial
	switch {
	case a.deed == check:
		if active := !s.dead && n >= s.lowest && n <= s.serial; active != (a.outcome == done) {
			return nil
		}
		return []state{s}

	case a.deed == revoke && a.outcome == refused:
		return nil
	case a.deed == revoke && (s.dead || c.Kind == token.Refresh):
		return []state{dead} // if unknown, too: it may happen at any later time
	case a.deed == revoke:
		next := s
		next.lowest = max(s.lowest, n+1)
		if a.outcome == unknown {
			return []state{s, next}
		}
		return []state{next}

	case s.dead:
		if a.outcome == done {
			return nil
		}
		return []state{s}
	case n == s.serial:
		next := s
		next.serial++
		switch {
		case a.outcome == unknown:
			return []state{s, next}
		case a.outcome == done && claims(a.pair.Refresh).Serial == next.serial:
			return []state{next}
		}
		return nil
	case n+1 == s.serial: // a retry
		if a.outcome == refused || a.outcome == done && claims(a.pair.Refresh).Serial != s.serial {
			return nil
		}
		return []state{s}
	case n+2 == s.serial: // superseded
		if a.outcome == done {
			return nil
		}
		return []state{s}
	case n < s.serial: // a replay, or superseded while it was under way
		if a.outcome == done {
			return nil
		}
		return []state{s, dead}
	}
	return nil // a token from the future
}

// String implements fmt.Stringer. It leaves out the token.
func (a attempt) String() string {
	what := ""
	if a.token != "" {
		c := claims(a.token)
		what = fmt.Sprintf(" %ct %d", c.Kind, c.Serial)
	}
	if a.pair.Refresh != "" {
		what += fmt.Sprintf(" -> %d", claims(a.pair.Refresh).Serial)
	}
	return fmt.Sprintf("%10.4f to %10.4f s, server %d: %s%s: %s %s", a.call.Seconds(), a.back.Seconds(), a.server, a.deed, what, a.outcome, a.code)
}

// listing returns the whole history of one grant, in the order of the calls.
func listing(grant []attempt) string {
	var b strings.Builder
	for _, a := range slices.SortedStableFunc(slices.Values(grant), func(a, b attempt) int { return cmp.Compare(a.call, b.call) }) {
		fmt.Fprintf(&b, "  %s\n", a)
	}
	return b.String()
}

// grantOf returns the grant that an attempt was about, or made.
func grantOf(a attempt) grantID { return claims(cmp.Or(a.token, a.pair.Refresh)).Grant }

// tokenIDs returns the identifiers by which logs know the tokens of a grant.
func tokenIDs(grant []attempt) []string {
	var ids []string
	for _, a := range grant {
		for _, text := range []string{a.token, a.pair.Access, a.pair.Refresh} {
			if text != "" {
				c := claims(text)
				ids = append(ids, c.JTI())
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
