package faults

import (
	"flag"
	"testing"
)

// full is set by make test-faults.
var full = flag.Bool("full", false, "run the fault tests at full size, with their negative controls and times")

// size returns a number of a test: short in the short form, whole in the full one.
func size(short, whole int) int {
	if *full {
		return whole
	}
	return short
}

// control runs a negative control, which is part of the full form only: it needs its
// own build.
func control(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	if *full {
		t.Run("control: "+name, f)
	}
}

// figure reports what was measured, for docs/reliability.md.
func figure(t *testing.T, format string, args ...any) {
	t.Helper()
	if *full {
		t.Logf("FIGURE "+format, args...)
	}
}
