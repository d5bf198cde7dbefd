package faults

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"authsvc/internal/authsvctest"
)

// made returns a token for a hand-made history; no service would accept it.
func made(kind byte, serial uint32, lifetime byte) string {
	raw := make([]byte, 57)
	raw[0], raw[10] = 2, lifetime
	binary.BigEndian.PutUint32(raw[31:], serial)
	return string(kind) + "t_" + base64.RawURLEncoding.EncodeToString(raw)
}

func at(serial uint32) string { return made('a', serial, 0) }
func rt(serial uint32) string { return made('r', serial, 0) }

// pairOf returns the pair with a serial; another variant is another pair.
func pairOf(serial uint32, variant byte) authsvctest.Pair {
	return authsvctest.Pair{Access: made('a', serial, variant), Refresh: made('r', serial, variant)}
}

// The attempts of a hand-made history, from one millisecond to another.

func request(d deed, token string, out outcome, code string, call, back int) attempt {
	return attempt{
		deed: d, token: token, outcome: out, code: code,
		call: time.Duration(call) * time.Millisecond, back: time.Duration(back) * time.Millisecond,
	}
}

func refreshed(n uint32, call, back int) attempt {
	a := request(refresh, rt(n), done, "", call, back)
	a.pair = pairOf(n+1, 0)
	return a
}

func refreshRefused(n uint32, call, back int) attempt {
	return request(refresh, rt(n), refused, refreshInvalid, call, back)
}

func refreshUnknown(n uint32, call, back int) attempt {
	return request(refresh, rt(n), unknown, unavailable, call, back)
}

func active(n uint32, call, back int) attempt { return request(check, at(n), done, "", call, back) }

func inactive(n uint32, call, back int) attempt {
	return request(check, at(n), refused, accessInvalid, call, back)
}

func revoked(token string, call, back int) attempt {
	return request(revoke, token, done, "", call, back)
}

func revokeUnknown(token string, call, back int) attempt {
	return request(revoke, token, unknown, "", call, back)
}

// The judge finds the faults of a service: by the order, which is also tested
// separately here, and by what can be seen without it.
func TestJudge(t *testing.T) {
	const late = 50 * time.Millisecond // in all of these histories
	another := func(a attempt, variant byte) attempt {
		a.pair = pairOf(claims(a.pair.Refresh).Serial, variant)
		return a
	}
	skipping := refreshed(1, 0, 10)
	skipping.pair = pairOf(3, 0)

	for name, c := range map[string]struct {
		history []attempt
		order   porcupine.CheckResult
		faults  []fault // besides the order
		lossy   []fault // with a store that may lose what it acknowledged
	}{
		"all is well": {
			[]attempt{
				refreshed(1, 0, 10), active(2, 20, 30), active(1, 20, 30), refreshed(2, 40, 50), refreshed(2, 60, 70), refreshRefused(1, 80, 90),
				revoked(at(2), 100, 110), inactive(1, 120, 130), inactive(2, 120, 130), active(3, 120, 130), refreshed(3, 140, 150),
				revoked(rt(4), 160, 170), inactive(4, 180, 190), refreshRefused(4, 200, 210), revoked(rt(4), 220, 230), revoked(at(4), 240, 250),
			}, porcupine.Ok, nil, nil,
		},
		"racers of one token": {
			[]attempt{refreshed(1, 0, 30), refreshed(1, 5, 25), refreshed(1, 10, 20), refreshed(2, 31, 40)}, porcupine.Ok, nil, nil,
		},
		"a racer that was overtaken twice": {
			[]attempt{refreshRefused(1, 0, 50), refreshed(1, 5, 10), refreshed(2, 20, 30)}, porcupine.Ok, nil, nil,
		},
		"a lost answer, of a refresh that was done": {
			[]attempt{refreshUnknown(1, 0, 10), refreshed(1, 200, 210), refreshed(2, 220, 230)}, porcupine.Ok, nil, nil,
		},
		"a lost answer, of one that was not": {
			[]attempt{
				refreshed(1, 0, 10), refreshUnknown(2, 20, 30), refreshed(1, 200, 210), // the current pair is still the second
				refreshed(2, 220, 230),
			}, porcupine.Ok, nil, nil,
		},
		"a lost answer, of one that is done within its time": {
			[]attempt{
				refreshed(1, 0, 10), refreshUnknown(2, 20, 30), refreshed(1, 40, 50), refreshRefused(1, 90, 100),
			}, porcupine.Ok, nil, nil,
		},
		"a write that was given up lands late": {
			[]attempt{
				refreshed(1, 0, 10), refreshUnknown(2, 20, 30), refreshed(1, 100, 110), refreshRefused(1, 120, 130),
			}, porcupine.Illegal, nil, nil,
		},
		"a revocation of an access token that was given up lands late": {
			[]attempt{revokeUnknown(at(1), 0, 10), active(1, 100, 110), inactive(1, 120, 130)}, porcupine.Illegal, nil, nil,
		},
		"a deletion that was given up lands late, as it may": {
			[]attempt{revokeUnknown(rt(1), 0, 10), refreshed(1, 100, 110), active(2, 120, 130), inactive(2, 500, 510), refreshRefused(2, 520, 530)},
			porcupine.Ok, nil, nil,
		},
		"a grant that comes back after it was deleted late": {
			[]attempt{revokeUnknown(rt(1), 0, 10), inactive(1, 100, 110), active(1, 120, 130)}, porcupine.Illegal, nil, nil,
		},
		"many lost answers, then a refusal": {
			slices.Concat(many(refreshUnknown, 1, 100), many(refreshUnknown, 2, 100), []attempt{refreshRefused(2, 600, 610)}),
			porcupine.Illegal,
			[]fault{lost},
			[]fault{lost},
		},
		"a token is spent twice": {
			[]attempt{refreshed(1, 0, 10), another(refreshed(1, 20, 30), 1)}, porcupine.Ok, []fault{doubleSpent}, nil,
		},
		"a retry gets a successor's successor": {
			[]attempt{refreshed(1, 0, 10), func() attempt { a := refreshed(1, 20, 30); a.pair = pairOf(3, 0); return a }()},
			porcupine.Illegal,
			[]fault{doubleSpent},
			nil,
		},
		"a serial is left out": {[]attempt{skipping}, porcupine.Illegal, nil, nil},
		"a refresh goes back": {
			[]attempt{refreshed(1, 0, 10), refreshed(2, 20, 30), refreshed(3, 40, 50), refreshed(1, 60, 70)}, porcupine.Illegal, nil, nil,
		},
		"an acknowledged refresh token is lost": {
			[]attempt{refreshed(1, 0, 10), refreshRefused(2, 20, 30)}, porcupine.Illegal, []fault{lost}, []fault{lost},
		},
		"an acknowledged access token is lost": {
			[]attempt{refreshed(1, 0, 10), inactive(2, 20, 30)}, porcupine.Illegal, []fault{lost}, []fault{lost},
		},
		"an older access token is lost": {
			[]attempt{refreshed(1, 0, 10), revoked(at(1), 20, 30), inactive(2, 40, 50)}, porcupine.Illegal, []fault{lost}, []fault{lost},
		},
		"a rotation is lost": {
			[]attempt{refreshed(1, 0, 10), refreshed(2, 20, 30), refreshed(1, 40, 50)}, porcupine.Illegal, nil, nil,
		},
		"a retry is taken for a replay": {
			[]attempt{refreshUnknown(1, 0, 10), refreshRefused(1, 20, 30)}, porcupine.Illegal, []fault{lost}, []fault{lost},
		},
		"active after an acknowledged revocation": {
			[]attempt{revoked(at(1), 0, 10), active(1, 20, 30)}, porcupine.Illegal, []fault{revived}, nil,
		},
		"active after the acknowledged revocation of its grant": {
			[]attempt{refreshed(1, 0, 10), revoked(rt(1), 20, 30), active(2, 40, 50)}, porcupine.Illegal, []fault{revived}, nil,
		},
		"a refresh brings a revoked grant back": {
			[]attempt{refreshed(1, 0, 50), revoked(rt(1), 10, 20), refreshed(2, 60, 70)}, porcupine.Illegal, []fault{revived}, nil,
		},
		"a refresh races a revocation, and wins": {
			[]attempt{refreshed(1, 0, 50), revoked(rt(1), 10, 20), inactive(2, 60, 70)}, porcupine.Ok, nil, nil,
		},
		"a replay ends its grant": {
			[]attempt{
				refreshed(1, 0, 10), refreshed(2, 20, 30), refreshed(3, 40, 50), refreshRefused(1, 60, 70), refreshRefused(1, 80, 90),
			}, porcupine.Ok, nil, nil,
		},
		"an answer from nowhere": {
			[]attempt{request(refresh, rt(1), refused, "APIG.1009", 0, 10)}, porcupine.Illegal, []fault{lost, strange}, []fault{lost, strange},
		},
		"a fault inside": {
			[]attempt{request(refresh, rt(1), unknown, "APIG.0601", 0, 10)}, porcupine.Ok, []fault{strange}, []fault{strange},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := explain(c.history, late); got != c.order {
				t.Errorf("an order: %s, want %s", got, c.order)
			}
			want := slices.Clone(c.faults)
			if c.order == porcupine.Illegal && !slices.ContainsFunc(want, func(f fault) bool { return f != strange }) {
				want = append(want, unexplained)
			}
			for r, want := range map[rules][]fault{{late: late}: want, {late: late, lossy: true}: c.lossy} {
				found := slices.Sorted(maps.Keys(judge(c.history, r).faults))
				slices.Sort(want)
				if !slices.Equal(want, found) {
					t.Errorf("with %+v it found %q, want %q", r, found, want)
				}
			}
		})
	}
}

// many returns overlapping attempts at the same request.
func many(make func(n uint32, call, back int) attempt, n uint32, count int) []attempt {
	var all []attempt
	for i := range count {
		all = append(all, make(n, 5*i, 5*i+20))
	}
	return all
}

// Faults with one grant are found even if another has none, and the requests for one do
// not explain the answers for the other.
func TestJudgeByGrant(t *testing.T) {
	other := []byte(rt(1))
	other[30] = 'B' // in the grant's id
	a := refreshRefused(1, 100, 110)
	a.token = string(other)
	v := judge([]attempt{refreshed(1, 0, 10), revoked(rt(1), 20, 30), a}, rules{})
	if len(v.faults[lost]) != 1 || len(v.faults) != 1 {
		t.Errorf("found %v", v.faults)
	}
}

// A store that may lose acknowledged writes may lose a grant whose issue was answered
// after the failover began, however early it was called, and none that was answered
// before, or called when it was over.
func TestJudgeOfALossyStore(t *testing.T) {
	issued := request(issue, "", done, "", 50, 60)
	issued.pair = pairOf(1, 0)
	history := []attempt{issued, active(1, 70, 80), inactive(1, 100, 110)}
	const ms = time.Millisecond
	for r, want := range map[rules]int{
		{lossy: true, began: 40 * ms, over: 90 * ms}:  0,
		{lossy: true, began: 40 * ms}:                 0, // it is not known when it was over
		{lossy: true, began: 10 * ms}:                 0,
		{lossy: true, began: 55 * ms, over: 90 * ms}:  0, // under way when it began
		{lossy: true, began: 59 * ms, over: 300 * ms}: 0,
		{lossy: true, began: 10 * ms, over: 55 * ms}:  0, // under way when it was over
		{lossy: true, began: 60 * ms, over: 90 * ms}:  1, // answered before
		{lossy: true, began: 65 * ms}:                 1,
		{lossy: true, began: 200 * ms}:                1,
		{lossy: true, began: 10 * ms, over: 40 * ms}:  1, // called after
		{lossy: true, began: 10 * ms, over: 50 * ms}:  1,
		{lossy: true}:                    0,
		{began: 40 * ms, over: 90 * ms}:  1, // a store that loses nothing
		{began: 40 * ms, over: 300 * ms}: 1,
	} {
		if v := judge(history, r); len(v.faults[lost]) != want {
			t.Errorf("with %+v it found %v, want %d lost", r, v.faults, want)
		}
	}
	// What the grant went through later excuses nothing.
	late := append(slices.Clone(history[:1]), refreshed(1, 100, 110), refreshRefused(2, 120, 130))
	if v := judge(late, rules{lossy: true, began: 65 * ms, over: 500 * ms}); len(v.faults[lost]) != 1 {
		t.Errorf("it found %v, want a lost one", v.faults)
	}
}

// A fault is shown with all that happened to its grant, from its issue, in order.
func TestJudgeShowsTheWholeHistory(t *testing.T) {
	issued := request(issue, "", done, "", 0, 10)
	issued.pair = pairOf(1, 0)
	history := []attempt{request(issue, "", unknown, unavailable, 0, 5)}
	for n := range 200 {
		history = append(history, active(1, 20+n, 30+n))
	}
	history = append(history, inactive(1, 400, 410), issued)
	found := judge(history, rules{}).faults[lost]
	if len(found) != 1 {
		t.Fatalf("it found %v", found)
	}
	lines := strings.Split(strings.TrimSuffix(listing(found[0].grant), "\n"), "\n")
	if len(lines) != 202 || !strings.Contains(lines[0], "issue -> 1: done") || !strings.Contains(lines[201], "check at 1: refused") {
		t.Errorf("%d lines, from %s to %s", len(lines), lines[0], lines[len(lines)-1])
	}
	if ids := tokenIDs(found[0].grant); len(ids) != 2 {
		t.Errorf("the tokens are %q, want two", ids)
	}
}
