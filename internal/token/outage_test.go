package token

import (
	"fmt"
	"math"
	"testing"
	"time"

	"authsvc/internal/app"
)

// unended is the To of an Away that has not ended.
const unended = math.MaxInt64

// Each case says when the grace of a rotation at 0 ends, and when it is certain that it
// has; the grace is 60 s. The times are in seconds, and the ends are right to the
// millisecond. The test looks at each moment with what is known then: nothing of what
// comes later.
func TestGraceEnds(t *testing.T) {
	s := func(n float64) int64 { return int64(math.Round(n * 1000)) }
	type away = []Away
	for name, tt := range map[string]struct {
		o            Outages
		end, certain float64
	}{
		"no outages":                            {Outages{}, 60, 60},
		"one over before it":                    {Outages{Away: away{{s(-100), s(-50)}}}, 60, 60},
		"one over as it begins":                 {Outages{Away: away{{s(-100), 0}}}, 60, 60},
		"one that it began in":                  {Outages{Away: away{{s(-100), s(10)}}}, 70, 70},
		"one inside":                            {Outages{Away: away{{s(10), s(20)}}}, 70, 70},
		"one of a millisecond":                  {Outages{Away: away{{s(10), s(10.001)}}}, 60.001, 60.001},
		"a longer one":                          {Outages{Away: away{{s(1), s(500)}}}, 559, 559},
		"one near the end":                      {Outages{Away: away{{s(50), s(55)}}}, 85, 85}, // half a grace after it
		"one just before the end":               {Outages{Away: away{{s(59.999), s(60)}}}, 90, 90},
		"one as it ends":                        {Outages{Away: away{{s(60), s(100)}}}, 60, 60},
		"one long after":                        {Outages{Away: away{{s(100), s(1000)}}}, 60, 60},
		"two":                                   {Outages{Away: away{{s(10), s(20)}, {s(30), s(40)}}}, 80, 80},
		"the second during what the first adds": {Outages{Away: away{{s(50), s(55)}, {s(84), s(86)}}}, 116, 116},
		"the second after that":                 {Outages{Away: away{{s(50), s(55)}, {s(85), s(86)}}}, 85, 85},
		"one that has not ended":                {Outages{Away: away{{s(1), unended}}}, 3600, 3600},
		"the limit":                             {Outages{Away: away{{s(1), s(3599)}}}, 3600, 3600},
		"one longer than the limit":             {Outages{Away: away{{s(1), s(9000)}}}, 3600, 3600},
		"many short ones":                       {Outages{Away: every(20, 1, 400)}, 3600, 3600},

		"asking began before it":              {Outages{Since: s(-1)}, 60, 60},
		"asking began as it began":            {Outages{Since: 0}, 60, 60},
		"asking began just after":             {Outages{Since: 1}, 60, 60.001},
		"asking began later":                  {Outages{Since: s(40)}, 70, 100},
		"asking began long after":             {Outages{Since: s(1000)}, 1030, 1060},
		"asking began after the limit":        {Outages{Since: s(3601)}, 3600, 3600},
		"asking began before the limit":       {Outages{Since: s(3580)}, 3600, 3600},
		"asking began in an outage":           {Outages{Since: s(1000), Away: away{{s(1000), s(1100)}}}, 1130, 1160},
		"asking began after a known one":      {Outages{Since: s(105), Away: away{{s(1), s(104)}}}, 163, 165},
		"asking began as a known one ended":   {Outages{Since: s(104), Away: away{{s(0), s(104)}}}, 164, 164},
		"one soon after asking began":         {Outages{Since: s(1000), Away: away{{s(1001), s(1011)}}}, 1041, 1070},
		"one after what that gives":           {Outages{Since: s(1000), Away: away{{s(1031), s(1041)}}}, 1030, 1071},
		"one after all of it":                 {Outages{Since: s(1000), Away: away{{s(1060), s(1070)}}}, 1030, 1060},
		"the last read was answered long ago": {Outages{Until: s(5)}, 3600, 3600},
	} {
		t.Run(name, func(t *testing.T) {
			for _, d := range []struct {
				what string
				at   float64
				is   func(*refreshCase) bool
			}{
				{"in the grace", tt.end, func(c *refreshCase) bool { return c.inGrace(0) }},
				{"maybe in the grace", tt.certain, func(c *refreshCase) bool { return c.mayBeInGrace(0) }},
			} {
				for offset, want := range map[int64]bool{-1: true, 0: false, 1: false, 1_000_000: false} {
					now := s(d.at) + offset
					if name == "one after what that gives" && now < s(1031) {
						continue
					}
					c := refreshCase{now: time.UnixMilli(now), grace: 60 * time.Second, outages: tt.o}
					if got := d.is(&c); got != want {
						t.Errorf("%s at %d ms: %t, want %t", d.what, now, got, want)
					}
				}
			}
		})
	}
	for name, at := range map[string][3]float64{ // silent since, looked at, the end
		"it stood still for 3 s":     {5, 8, 60},
		"it stood still for longer":  {5, 8.001, 63.001},
		"it stood still for minutes": {5, 305, 360},
		"it stood still later":       {60, 305, 60},
	} {
		end, certain := Outages{Until: s(at[0])}.end(0, s(at[1]), 60*time.Second)
		if end != s(at[2]) || certain != end {
			t.Errorf("%s: it ends at %d and %d ms, want %d", name, end, certain, s(at[2]))
		}
	}
}

// every returns n outages of some seconds each, all so many seconds.
func every(seconds, long, n int64) []Away {
	var all []Away
	for i := range n {
		all = append(all, Away{(i*seconds + 1) * 1000, (i*seconds + 1 + long) * 1000})
	}
	return all
}

// A grace longer than the limit is not cut short by it.
func TestGraceLongerThanTheLimit(t *testing.T) {
	if end, certain := (Outages{}).end(0, 1, 2*maxOutage); end != 2*maxOutage.Milliseconds() || certain != end {
		t.Errorf("it ends at %d and %d ms", end, certain)
	}
}

// The end of a grace never comes sooner because more of an outage is known, and never
// sooner for a later rotation: the check of the expiry before the store depends on that.
func TestGraceEndsMonotonically(t *testing.T) {
	const grace = 10 * time.Second
	lists := [][]Away{nil, {{3000, 4000}}, {{3000, 9000}}, {{3000, 9000}, {12_000, 13_000}}, {{3000, 9000}, {12_000, 40_000}}}
	for _, since := range []int64{0, 7000} {
		before := make([]int64, 60)
		for i, list := range lists {
			last := int64(0)
			for rotated := range int64(60) {
				o := Outages{Away: list, Since: since}
				end, certain := o.end(rotated*1000, 100_000, grace)
				if end < last || end < before[rotated] || certain < end {
					t.Errorf("list %d, asking since %d, rotated at %d s: it ends at %d (certainly at %d), not before %d and %d", i, since, rotated, end, certain, last, before[rotated])
				}
				last, before[rotated] = end, end
			}
		}
	}
}

func TestGraceAllocatesNothing(t *testing.T) {
	c := refreshCase{now: epoch, grace: time.Minute, outages: Outages{Away: every(20, 1, 64), Since: 5, Until: epoch.UnixMilli()}}
	if n := testing.AllocsPerRun(100, func() { c.inGrace(1); c.mayBeInGrace(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A reply is lost, and the store is loading, or fails in another way, for longer than the
// grace. The client gets 0613, tries again, and at last gets the successor pair: once the
// store is back there is at least half a grace for that. A real replay still ends the grant.
func TestOutageAfterALostReply(t *testing.T) {
	for _, away := range []time.Duration{DefaultGrace, 5 * time.Minute, 59 * time.Minute} {
		t.Run(fmt.Sprint(away), func(t *testing.T) {
			w := newWorld(t)
			var known Outages
			w.m.cfg.Outages = func(GrantID) Outages { return known }
			first := w.issue(keyA)
			second := w.mustRefresh(first.refresh) // whose reply is lost
			w.clock.Advance(time.Second)
			down := w.clock.Now()
			known.Away = []Away{{down.UnixMilli(), unended}}
			for range 24 {
				w.clock.Advance(away / 24)
				w.store.fail("get", failBefore)
				if _, err := w.refresh(keyA, first.refresh, "", ""); code(err) != "0613" {
					t.Fatalf("while the store is away: %v", err)
				}
			}
			known.Away[0].To = w.clock.Now().UnixMilli()
			w.clock.Advance(DefaultGrace/2 - time.Second)
			if got, err := w.refresh(keyA, first.refresh, "", ""); err != nil || got != second {
				t.Fatalf("the retry, once the store is back: %v", err)
			}
			w.kinds()

			// The other end: nothing is repeated for ever.
			w.clock.Advance(DefaultGrace)
			if _, err := w.refresh(keyA, first.refresh, "", ""); code(err) != "2202" || w.grant(second.refresh) != nil {
				t.Errorf("after the grace: %v; the grant is still there: %t", err, w.grant(second.refresh) != nil)
			}
		})
	}
}

// A refresh token expires while the store is away. It had not expired when it was used, so
// its repeat is answered, and only that.
func TestOutagePastTheExpiry(t *testing.T) {
	w := newWorld(t)
	var known Outages
	w.m.cfg.Outages = func(GrantID) Outages { return known }
	w.change(keyA, func(a *app.App) { a.RefreshTTL = 90 * time.Second })
	first := w.issue(keyA)
	w.clock.Advance(80 * time.Second)
	w.change(keyA, func(a *app.App) { a.RefreshTTL = 0 })
	second := w.mustRefresh(first.refresh) // whose reply is lost
	unused := w.issue(keyA)
	w.clock.Advance(15 * time.Second)
	known.Away = []Away{{w.clock.Now().UnixMilli(), w.clock.Now().Add(10 * time.Minute).UnixMilli()}}
	w.clock.Advance(10*time.Minute + DefaultGrace - 15*time.Second - time.Millisecond)
	if got, err := w.refresh(keyA, first.refresh, "", ""); err != nil || got != second {
		t.Errorf("the retry, once the store is back: %v", err)
	}
	w.clock.Advance(5 * time.Second) // past the grace of the rotation, not of the expiry
	w.store.ops()
	if _, err := w.refresh(keyA, first.refresh, "", ""); code(err) != "1001" || len(w.store.ops()) != 1 || w.grant(second.refresh) == nil {
		t.Errorf("after the grace of the rotation: %v", err)
	}
	w.clock.Advance(6 * time.Second)
	w.store.ops()
	if _, err := w.refresh(keyA, first.refresh, "", ""); code(err) != "1001" || len(w.store.ops()) != 0 {
		t.Errorf("after the grace of the expiry: %v, and the store was called", err)
	}
	w.clock.Advance(2 * time.Hour)
	if _, err := w.refresh(keyA, unused.refresh, "", ""); code(err) != "1001" {
		t.Errorf("one that was never used: %v", err)
	}
}

// A process that does not know what was before its start takes nothing for a replay until
// it has run for a grace, and answers the immediate predecessor for half of one.
func TestStartWithoutAList(t *testing.T) {
	w := newWorld(t)
	first := w.issue(keyA)
	second := w.mustRefresh(first.refresh)
	third := w.mustRefresh(second.refresh)
	w.clock.Advance(10 * time.Minute)
	known := Outages{Since: math.MaxInt64} // it has not asked yet
	w.m.cfg.Outages = func(GrantID) Outages { return known }
	repeats := func(when string) {
		t.Helper()
		if got, err := w.refresh(keyA, second.refresh, "", ""); err != nil || got != third {
			t.Errorf("%s: %v", when, err)
		}
	}
	refuses := func(when, rt string) {
		t.Helper()
		if _, err := w.refresh(keyA, rt, "", ""); code(err) != "2202" || w.grant(third.refresh) == nil {
			t.Errorf("%s: %v; the grant is gone: %t", when, err, w.grant(third.refresh) == nil)
		}
	}
	repeats("before it has asked")
	known.Since = w.clock.Now().UnixMilli()
	repeats("at once")
	refuses("at once, one older", first.refresh)
	w.clock.Advance(DefaultGrace/2 - time.Millisecond)
	repeats("after half a grace, less a millisecond")
	w.clock.Advance(time.Millisecond)
	refuses("after half a grace", second.refresh)
	w.clock.Advance(DefaultGrace/2 - time.Millisecond)
	refuses("after a grace, less a millisecond", second.refresh)
	w.clock.Advance(time.Millisecond)
	if _, err := w.refresh(keyA, second.refresh, "", ""); code(err) != "2202" || w.grant(third.refresh) != nil {
		t.Errorf("after a grace: %v; the grant is still there: %t", err, w.grant(third.refresh) != nil)
	}
}
