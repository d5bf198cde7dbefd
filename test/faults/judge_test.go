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
	// logged out, except those whose grants can have been created after from and before
	// to: whole grants may be lost if no replica had them.
	lossy    bool
	from, to time.Duration
}

// defaultLate is late for the default deadline of 300 ms. The clock of the store is
// known to within half a round trip, which takes at most as long.
const defaultLate = 300*time.Millisecond + 150*time.Millisecond + 50*time.Millisecond

// verdict is what judge found in a history.
type verdict struct {
	attempts, grants int
	faults           map[fault][]string // a description of each occurrence
}

func (v verdict) find(f fault, format string, args ...any) {
	v.faults[f] = append(v.faults[f], fmt.Sprintf(format, args...))
}

// acquit fails the test if there is any fault.
func (v verdict) acquit(t *testing.T) {
	t.Helper()
	for f, found := range v.faults {
		t.Errorf("%d %s, such as:\n%s", len(found), f, found[0])
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

// judge returns what is wrong with a history.
func judge(history []attempt, r rules) verdict {
	grants := map[grantID][]attempt{}
	for _, a := range history {
		if a.token != "" {
			id := claims(a.token).Grant
			grants[id] = append(grants[id], a)
		}
	}
	v := verdict{len(history), len(grants), map[fault][]string{}}
	for _, a := range history {
		if isStrange(a) {
			v.find(strange, "%s", a)
		}
	}
	made := map[grantID]attempt{}
	for _, a := range history {
		if a.deed == issue && a.outcome == done {
			made[claims(a.pair.Refresh).Grant] = a
		}
	}
	for id, g := range grants {
		if r.lossy {
			// A grant that was requested before from and answered after it can have
			// been created after it.
			if a := made[id]; a.back <= r.from || a.call >= r.to {
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
			v.find(unexplained, "%s", listing(g))
		case porcupine.Unknown:
			v.find(undecided, "%s", listing(g))
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
			v.find(doubleSpent, "refresh token %d in\n%s", claims(a.token).Serial, listing(grant))
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
		v.find(lost, "%s in\n%s", a, listing(grant))
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
				v.find(revived, "%s in\n%s", a, listing(grant))
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

// listing returns the history of one grant, or its beginning and end if it is long.
func listing(grant []attempt) string {
	const most = 60
	var b strings.Builder
	for i, a := range grant {
		if i == most && len(grant) > 2*most {
			fmt.Fprintf(&b, "  ... %d more ...\n", len(grant)-2*most)
		}
		if i < most || i >= len(grant)-most {
			fmt.Fprintf(&b, "  %s\n", a)
		}
	}
	return b.String()
}
