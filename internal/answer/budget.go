package answer

import (
	"net/netip"
	"sync"
	"time"
)

// Requests of strangers, which prove neither an app nor a token, get at most this many
// lines, so that nobody can push security events out of a rotated log: 45,000 lines, about
// 25 MB, a day.
const (
	linesAtOnce    = 1000 // saved up while there are few
	linesAMinute   = 30
	linesAnAddress = 20 // a minute, so that one caller leaves room for others
)

// lineBudget counts the lines of strangers' requests. Its zero value is ready for use.
type lineBudget struct {
	mu      sync.Mutex
	minute  int64 // the current one, counted from 1970
	credit  int
	taken   map[netip.Addr]int // this minute
	without uint64             // requests without a line, since the last line
}

// take reports whether a request that came from an address gets a line, and how many had
// none since the last line.
func (b *lineBudget) take(now time.Time, from netip.Addr) (ok bool, without uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch minute := now.Unix() / 60; {
	case b.taken == nil: // the first line
		b.minute, b.credit, b.taken = minute, linesAtOnce, map[netip.Addr]int{}
	case minute != b.minute: // a clock that was set back gives no credit
		b.credit = int(min(linesAtOnce, int64(b.credit)+max(0, minute-b.minute)*linesAMinute))
		b.minute = minute
		clear(b.taken)
	}
	if from.Is6() && !from.Is4In6() { // a network of one caller, who can take any address in it
		network, _ := from.Prefix(64)
		from = network.Addr()
	}
	if b.credit == 0 || b.taken[from] == linesAnAddress {
		b.without++
		return false, 0
	}
	b.credit--
	b.taken[from]++
	without, b.without = b.without, 0
	return true, without
}
