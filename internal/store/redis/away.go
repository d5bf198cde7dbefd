package redis

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"authsvc/internal/token"
)

const (
	// maxList is how many times away a list has at most.
	maxList = 64
	// maxAge is for how long a time away is remembered after its end. Grace does not grow
	// by more.
	maxAge = time.Hour
)

// union returns the times that are in any of the lists, in order. If there are too many,
// those with the least between them are joined: the benefit of the doubt.
func union(lists ...[]token.Away) []token.Away {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b token.Away) int { return cmp.Compare(a.From, b.From) })
	joined := all[:0]
	for _, a := range all {
		if last := len(joined) - 1; last >= 0 && a.From <= joined[last].To {
			joined[last].To = max(joined[last].To, a.To)
		} else {
			joined = append(joined, a)
		}
	}
	for len(joined) > maxList {
		least, between := 1, int64(math.MaxInt64)
		for i := 1; i < len(joined); i++ {
			if d := joined[i].From - joined[i-1].To; d < between {
				least, between = i, d
			}
		}
		joined[least-1].To = joined[least].To
		joined = slices.Delete(joined, least, least+1)
	}
	return joined
}

// recent returns the times of a list that count at now, in unix milliseconds. None begins in
// the future, but for what the clocks of two processes differ by. One may end there, if the
// store's clock has stepped back since, in a failover to a server that is behind.
func recent(list []token.Away, now int64) []token.Away {
	return slices.DeleteFunc(slices.Clone(list), func(a token.Away) bool {
		return a.From >= a.To || a.From > now+token.MaxSilence.Milliseconds() ||
			a.To <= now-maxAge.Milliseconds() || a.To > now+maxAge.Milliseconds()
	})
}

// A list is stored as text: a version, then each time as FROM-TO, in unix milliseconds.
const listVersion = "1"

func listText(list []token.Away) string {
	text := listVersion
	for _, a := range list {
		text += " " + strconv.FormatInt(a.From, 10) + "-" + strconv.FormatInt(a.To, 10)
	}
	return text
}

// parseList parses what listText returns. It reports false for anything else, such as the
// list of another version.
func parseList(text string) ([]token.Away, bool) {
	fields := strings.Split(text, " ")
	if fields[0] != listVersion || len(fields) > 1+maxList {
		return nil, false
	}
	var list []token.Away
	for _, f := range fields[1:] {
		from, to, _ := strings.Cut(f, "-")
		a, err1 := strconv.ParseInt(from, 10, 64)
		b, err2 := strconv.ParseInt(to, 10, 64)
		if err1 != nil || err2 != nil || a < 0 {
			return nil, false
		}
		list = append(list, token.Away{From: a, To: b})
	}
	return list, true
}
