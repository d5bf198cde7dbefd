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
		if Pattern(c.shown).MatchString(c.printed) != c.fits {
			t.Errorf("%q and %q: want %v", c.shown, c.printed, c.fits)
		}
	}
}

func TestEdited(t *testing.T) {
	t.Parallel()
	const file = "apps:\n  - key: a\n    hash: x1\n  - key: b\n    hash: x2\n"
	for _, c := range []struct{ diff, want string }{
		{"   - key: a\n     hash: x...\n+    state: frozen\n", "apps:\n  - key: a\n    hash: x1\n    state: frozen\n  - key: b\n    hash: x2\n"},
		{"   - key: b\n-    hash: ...\n+    hash: y\n", "apps:\n  - key: a\n    hash: x1\n  - key: b\n    hash: y\n"},
		{"-    hash: ...\n", ""},              // two places
		{"   - key: c\n-    hash: ...\n", ""}, // none
		{"   - key: a\n-    hash: x2\n", ""},
		{"   - key: a\nhash: x1\n", ""}, // no mark
	} {
		now, err := edited(file, c.diff)
		if now != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q: %q, %v; want %q", c.diff, now, err, c.want)
		}
	}
}

func TestRunEdits(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	Run(t, work, []Block{
		{at: "page:1", kind: "sh", text: "printf 'key: a\\nhash: x\\n' > f; NEW=y\n"},
		{at: "page:2", kind: "diff f", text: " key: a\n-hash: ...\n+hash: $NEW\n"},
		{at: "page:3", kind: "sh", text: "cat f\n"},
		{at: "page:4", kind: "output", text: "key: a\nhash: y\n"},
	})
}
