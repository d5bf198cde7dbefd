package pagetest

import "testing"

func TestPattern(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shown, printed string
		fits           bool
	}{
		{"ok\n", "ok\n", true},
		{"ok\n", "not ok\n", false},
		{"ok\n", "ok\nand more\n", false},
		{"{\"a\":\"at_...\"}\n", "{\"a\":\"at_x\"}\n", true},
		{"at_...\n", "rt_x\n", false},
		{"a...b\n", "a\nb\n", false},
		{"a\n...\nb\n", "a\nb\n", true},
		{"a\n...\nb\n", "a\n1\n2\nb\n", true},
		{"a\n...\nb\n", "a\n1\n2\n", false},
		{"a.c\n", "abc\n", false},
	} {
		if pattern(c.shown).MatchString(c.printed) != c.fits {
			t.Errorf("%q and %q: want %v", c.shown, c.printed, c.fits)
		}
	}
}
