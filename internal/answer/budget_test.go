package answer

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// granted returns how many of n requests get a line, each from another address if that is not
// valid.
func (b *lineBudget) granted(now time.Time, n int, from netip.Addr) (lines int, without uint64) {
	var a [16]byte
	for i := range n {
		at := from
		if !at.IsValid() {
			a[0], a[1] = byte(i), byte(i>>8)
			at = netip.AddrFrom16(a)
		}
		ok, w := b.take(now, at)
		if ok {
			lines++
		}
		without += w
	}
	return lines, without
}

// Callers with IPv6 have a network each, and are counted as one; those of IPv4 are not.
func TestLineBudgetOfNetworks(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for format, want := range map[string]int{
		"2001:db8:1:2::%x":     linesAnAddress,
		"2001:db8:1:2:%x::":    linesAnAddress,
		"fe80::%x%%eth0":       linesAnAddress,
		"2001:db8:1:%x::1":     100,
		"::ffff:192.0.2.%[2]d": 100,
		"192.0.2.%[2]d":        100,
	} {
		var b lineBudget
		lines := 0
		for i := 1; i <= 100; i++ {
			text := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(format, "%[2]d", strconv.Itoa(i)), "%x", strconv.FormatInt(int64(i), 16)), "%%", "%")
			if ok, _ := b.take(now, netip.MustParseAddr(text)); ok {
				lines++
			}
		}
		if lines != want {
			t.Errorf("%s: %d lines, want %d", format, lines, want)
		}
	}
}

func TestLineBudget(t *testing.T) {
	var (
		b       lineBudget
		one     = netip.MustParseAddr("192.0.2.1")
		another = netip.MustParseAddr("192.0.2.2")
		many    netip.Addr
		now     = time.Date(2026, 11, 25, 12, 0, 7, 0, time.UTC)
		dropped uint64
	)
	for i, step := range []struct {
		after time.Duration
		n     int
		from  netip.Addr
		want  int
	}{
		{0, 100, one, linesAnAddress},
		{52 * time.Second, 100, one, 0}, // 12:00:59
		{0, 100, another, linesAnAddress},
		{time.Second, 100, one, linesAnAddress}, // the next minute
		{0, 2000, many, linesAtOnce - 3*linesAnAddress + linesAMinute},
		{0, 100, another, 0},
		{time.Minute, 100, one, linesAnAddress},
		{0, 100, another, linesAMinute - linesAnAddress},
		{-time.Hour, 100, another, 0}, // the clock is set back
		{time.Minute, 100, another, linesAnAddress},
		{10 * time.Minute, 1000, many, 10*linesAMinute + linesAMinute - linesAnAddress},
		{365 * 24 * time.Hour, 2000, many, linesAtOnce},
	} {
		now = now.Add(step.after)
		got, without := b.granted(now, step.n, step.from)
		if got != step.want {
			t.Errorf("step %d: %d lines, want %d", i, got, step.want)
		}
		if got > 0 && without != dropped {
			t.Errorf("step %d: %d said to have no line, want %d", i, without, dropped)
		}
		if got > 0 {
			dropped = 0
		}
		dropped += uint64(step.n - got)
	}
}
