package strictyaml

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// good parses a text that has no fault.
func good(t *testing.T, text string) Value {
	t.Helper()
	v, fault := Parse([]byte(text))
	if fault != nil {
		t.Fatalf("line %d: %s", fault.Line, fault.Text)
	}
	return v
}

func refuse(key string) string { return fmt.Sprintf("%q is unknown", key) }

func TestKinds(t *testing.T) {
	const (
		empty   = "is empty; leave it out, or give a value"
		notText = "must be text, and YAML reads it as a number or a truth value: put it in quotes"
		nested  = "must be text, not a list or a mapping"
		noAlias = "YAML tags, anchors and aliases are not read here: put the value in quotes"
	)
	for _, tt := range []struct {
		text   string // of the value of a key
		kind   Kind
		want   string // the text, or what is said of it
		source string
	}{
		{"plain text", Text, "plain text", ""},
		{"'it''s'", Text, "it's", ""},
		{`"a\tb"`, Text, "a\tb", ""},
		{"''", Text, "", ""},
		{"'1'", Text, "1", ""},
		{"one\n  and the same", Text, "one and the same", ""},
		{"yes", Text, "yes", ""}, // YAML 1.2
		{"2026-01-02", Text, "2026-01-02", ""},
		{"|\n  two\n  lines\n", Block, "two\nlines\n", ""},
		{"|-\n  one\n", Block, "one", ""},
		{">-\n  two\n  lines\n", Block, "two lines", ""},
		{"", Null, empty, ""},
		{"~", Null, empty, ""},
		{"null", Null, empty, ""},
		{"7", Int, notText, "7"},
		{"-7", Int, notText, "-7"},
		{"0x1f", Int, notText, "0x1f"},
		{"1_000", Int, notText, "1_000"},
		{"0.5", Float, notText, "0.5"},
		{"1.5e3", Float, notText, "1.5e3"},
		{".inf", Float, notText, ".inf"},
		{".nan", Float, notText, ".nan"},
		{"true", Bool, notText, "true"},
		{"False", Bool, notText, "False"},
		{"[]", List, nested, ""},
		{"[a, b]", List, nested, ""},
		{"\n- a\n- b", List, nested, ""},
		{"{}", Map, nested, ""},
		{"{b: c}", Map, nested, ""},
		{"\n  b: c", Map, nested, ""},
		{"!!str 1", Other, noAlias, ""},
		{"!x {a: b}", Other, noAlias, ""},
		{"&x 1", Other, noAlias, ""},
		{"*x", Other, noAlias, ""},
	} {
		fields, faults := good(t, "# a comment\na: "+tt.text).Fields([]string{"a"}, refuse)
		v, ok := fields["a"]
		if !ok || len(faults) > 0 {
			t.Errorf("%q: %v", tt.text, faults)
			continue
		}
		got, err := v.Text()
		if err != nil {
			got = err.Error()
		}
		if v.Kind() != tt.kind || got != tt.want || (err == nil) != (tt.kind == Text || tt.kind == Block) || v.Source() != tt.source {
			t.Errorf("%q: kind %d, %q, source %q; want %d, %q, %q", tt.text, v.Kind(), got, v.Source(), tt.kind, tt.want, tt.source)
		}
		if v.Line() != 2 {
			t.Errorf("%q: line %d", tt.text, v.Line())
		}
		if (v.Items() != nil) != (tt.kind == List) {
			t.Errorf("%q: items %v", tt.text, v.Items())
		}
	}
}

func TestUint(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "7": 7, "0x10": 16, "4294967296": 1 << 32, "-1": -1, "1.0": -1, "'1'": -1, "": -1, "99999999999999999999": -1} {
		fields, _ := good(t, "a: "+text).Fields([]string{"a"}, refuse)
		n, ok := fields["a"].Uint()
		if ok != (want >= 0) || ok && n != uint64(want) {
			t.Errorf("%q: %d, %v", text, n, ok)
		}
	}
}

func TestItemsAndLines(t *testing.T) {
	root := good(t, "a:\n- x\n-\n- [y, 1]\n\nb: {c: d}\n")
	if root.Line() != 1 || root.Kind() != Map {
		t.Errorf("line %d, kind %d", root.Line(), root.Kind())
	}
	fields, _ := root.Fields([]string{"a", "b"}, refuse)
	var got []string
	for _, item := range fields["a"].Items() {
		got = append(got, fmt.Sprint(item.Line(), " ", item.Kind()))
	}
	if diff := cmp.Diff([]string{"2 2", "3 1", "4 7"}, got); diff != "" {
		t.Error(diff)
	}
	if fields["b"].Line() != 6 {
		t.Errorf("b is in line %d", fields["b"].Line())
	}
}

// What has no document is no mapping, and no fault.
func TestNoDocument(t *testing.T) {
	for _, text := range []string{"", "\n", "# none\n", "---\n", "\ufeff", "---\n...\n"} {
		v := good(t, text)
		if fields, faults := v.Fields([]string{"a"}, refuse); v.Kind() != None || v.Line() != 0 || len(fields)+len(faults) > 0 {
			t.Errorf("%q: kind %d, line %d, %v %v", text, v.Kind(), v.Line(), fields, faults)
		}
		if _, err := v.Text(); err == nil {
			t.Errorf("%q has a text", text)
		}
	}
}

func TestFields(t *testing.T) {
	fields, faults := good(t, `a: 1
colour: red
a: 2
"b": x
1: y
? k
: z
<<: {c: d}
*k : v
'a': 3
b : w
`).Fields([]string{"a", "b", "c"}, refuse)
	if diff := cmp.Diff([]Fault{
		{2, `"colour" is unknown`},
		{3, "a: duplicate key, first in line 1"},
		{5, `"" is unknown`},
		{6, `"" is unknown`},
		{8, `"" is unknown`}, // nothing is merged
		{9, `"" is unknown`},
		{10, "a: duplicate key, first in line 1"},
		{11, "b: duplicate key, first in line 4"},
	}, faults); diff != "" {
		t.Error(diff)
	}
	if len(fields) != 2 || fields["a"].Source() != "1" || fields["b"].Line() != 4 {
		t.Errorf("%v", fields)
	}
}

// A byte order mark and Windows line ends change nothing.
func TestWindows(t *testing.T) {
	const text = "# one\n# two\na: # three\n- x\n- y\nb: |-\n  one\n  two\n# four\nc: 'it is'\n"
	shape := func(text string) (all []string) {
		fields, faults := good(t, text).Fields([]string{"a", "b", "c"}, refuse)
		for _, key := range []string{"a", "b", "c"} {
			s, err := fields[key].Text()
			all = append(all, fmt.Sprint(key, " in line ", fields[key].Line(), " ", fields[key].Kind(), len(fields[key].Items()), s, err))
		}
		return append(all, fmt.Sprint(faults))
	}
	if want, got := "[a in line 3", fmt.Sprint(shape(text)); !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
	if diff := cmp.Diff(shape(text), shape("\ufeff"+strings.ReplaceAll(text, "\n", "\r\n"))); diff != "" {
		t.Error(diff)
	}
	_, fault := Parse([]byte("# one\r\n# two\r\na: b: c\r\n"))
	if want := (Fault{3, fmt.Sprintf(notYAML, 4)}); fault == nil || *fault != want {
		t.Errorf("got %v, want %v", fault, want)
	}
}

const (
	notYAML = "not valid YAML from here on (column %d): look at the indentation, the colons and the quotes"
	tooDeep = "lists and mappings nested more than 64 deep: look for a bracket that is not closed"
	tooMany = "more than 1000 keys in one mapping: look for a brace that is not closed"
	tooLong = "more than 300000 line breaks and signs such as colons, commas and brackets"
	marks   = "more than 64 YAML tags and anchors in a row"
)

// hostile are texts that must be refused, those without end before the parser sees them.
var hostile = []struct {
	name, text string
	want       Fault
}{
	{"not UTF-8", "a: \xff", Fault{0, "not a text file in UTF-8"}},
	{"UTF-16", "\xff\xfea\x00:\x00 \x00b\x00", Fault{0, "not a text file in UTF-8"}},
	{"NUL", "a: \x00", Fault{0, "not a text file in UTF-8"}},
	{"too long", "a: " + strings.Repeat("x", MaxSize), Fault{0, "longer than 8388608 bytes"}},
	{"further documents", "a: b\n---\nc: d\n", Fault{3, "YAML directives and further documents are not read here"}},
	{"a directive", "%YAML 1.2\n---\na: b\n", Fault{1, "YAML directives and further documents are not read here"}},
	{"a tab", "a:\n\tb: c\n", Fault{2, fmt.Sprintf(notYAML, 1)}},
	{"two colons", "a: b: c\n", Fault{1, fmt.Sprintf(notYAML, 4)}},
	{"an open quote", "a: b\nc: 'd\n", Fault{2, fmt.Sprintf(notYAML, 4)}},
	{"an open bracket", "a: [b\n", Fault{1, fmt.Sprintf(notYAML, 4)}},
	{"an odd block", "a: |x\n  b\n", Fault{1, fmt.Sprintf(notYAML, 4)}},
	{"brackets", strings.Repeat("[", 1<<16), Fault{1, tooDeep}},
	{"brackets that are closed", "a:\n  " + strings.Repeat("[", 65) + strings.Repeat("]", 65), Fault{2, tooDeep}},
	{"braces", strings.Repeat("{a: ", 1<<16), Fault{1, tooDeep}},
	{"dashes", strings.Repeat("- ", 1<<16), Fault{1, tooDeep}},
	{"question marks", strings.Repeat("? ", 1<<16), Fault{1, tooDeep}},
	{"indentation", steps(500), Fault{65, tooDeep}},
	{"tags", strings.Repeat("!!x ", 1<<16), Fault{1, marks}},
	{"tags on lines of their own", strings.Repeat("!x\n", 1<<16), Fault{65, marks}},
	{"tags between comments", strings.Repeat("!x # y\n", 1<<16), Fault{65, marks}},
	{"anchors", strings.Repeat("&x ", 1<<16), Fault{1, marks}},
	{"anchors and tags", strings.Repeat("&x !x ", 1<<16), Fault{1, marks}},
	{"tags in brackets", "a: [" + strings.Repeat("!x ", 1<<16) + "]", Fault{1, marks}},
	{"tags in a list", strings.Repeat("- !x ", 1<<16), Fault{1, tooDeep}},
	{"4 MB of tags", strings.Repeat("!!x ", 1<<20), Fault{0, tooLong}},
	{"5 MB of brackets", strings.Repeat("[", 5<<20), Fault{0, tooLong}},
	{"items", "[" + strings.Repeat("x,", 1<<20) + "]", Fault{0, tooLong}},
	{"lines", strings.Repeat("- x\n", 1<<20), Fault{0, tooLong}},
	{"lines of a Macintosh", strings.Repeat("- x\r", 1<<20), Fault{0, tooLong}},
	{"comments", strings.Repeat("#\n", 1<<20), Fault{0, tooLong}},
	{"dashes", strings.Repeat("- ", 1<<20), Fault{0, tooLong}},
	{"question marks", strings.Repeat("? ", 1<<20), Fault{0, tooLong}},
	{"colons", strings.Repeat("x: ", 1<<20), Fault{0, tooLong}},
	{"keys", numbered("k%d: v\n", 1001), Fault{1001, tooMany}},
	{"keys in braces", "{" + numbered("k%d: v, ", 1001) + "}", Fault{1, tooMany}},
	{"keys of a mapping in a list", "- a: b\n- " + strings.ReplaceAll(numbered("k%d: v\n", 1001), "\n", "\n  "), Fault{1002, tooMany}},
}

// steps returns n mappings, each in the one before.
func steps(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestHostile(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			_, fault := Parse([]byte(tt.text))
			if fault == nil || *fault != tt.want {
				t.Errorf("got %v, want %v", fault, tt.want)
			}
		})
	}
}

// What only looks like a bomb is none: an alias stands for itself, and what is as deep
// and as long as can be is read.
func TestHarmless(t *testing.T) {
	for name, text := range map[string]string{
		"aliases of aliases": "a: &a [x, x]\n" + "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n",
		"an alias of itself": "a: &a [*a]\n",
		"a long text":        "a: " + strings.Repeat("x", 1<<20) + "\n",
		"a long block":       "a: |\n" + strings.Repeat("  xxxxxxxxxxxxx\n", 1<<12),
		"a long comment":     strings.Repeat("# xxxxxxxxxxxxx\n", 1<<12) + "a: b\n",
		"depth":              "a: " + strings.Repeat("[", 63) + strings.Repeat("]", 63),
		"words with signs":   "a: " + strings.Repeat("x-y:z/", 1<<17) + "\n",
		"keys":               numbered("k%d: v\n", 1000),
		"items":              "a:\n" + strings.Repeat("- {b: c, d: [e]}\n", 10_000),
		"brackets in a text": "a: x" + strings.Repeat("[", 1000) + "\nb: '" + strings.Repeat("{", 1000) + "'\n",
	} {
		if v := good(t, text); v.Kind() != Map {
			t.Errorf("%s: kind %d", name, v.Kind())
		}
	}
}

// Any text is read or refused, with a fault that quotes nothing of it; and whatever can
// be asked of what was read has an answer.
func FuzzParse(f *testing.F) {
	for _, tt := range hostile {
		if len(tt.text) < 1000 {
			f.Add([]byte(tt.text))
		}
	}
	for _, s := range []string{
		"a: b\n", "a: [b, 1, true, ~, 0.5]\n", "- {a: b}\n- - c\n", "a: |\n x\nb: >-\n y\n", "a: &a b\nc: *a\n<<: {d: e}\n", "? a\n: b\n? [c]\n: d\n",
		"a: !!binary x", "a:\r\n- b\r\n", "#\r\nx #\r\n0", "--- |\n x\n--- >\n", "a: \"\\x41\\u0041\\n\"", "{[}]", "- - - -", "? ? ?", "a: [{b: 'c", "\ufeff# c\n", "{a, b: , : c}",
		// These panicked in older versions of the parser (goccy/go-yaml issues 439, 479 and 540).
		"0::", "{{},<<}", "{? {? \n", "|0#\n0", "%YAML 1.2\n---\na: 1\nb: 0_\n", "*-0", ">\n>", "&{0",
	} {
		f.Add([]byte(s))
	}
	texts := regexp.MustCompile(`^(not valid YAML|not a text file in UTF-8|` + strings.NewReplacer("(column %d)", `\(column \d+\)`).Replace(notYAML) +
		`|YAML directives and further documents are not read here|` + tooDeep + `|` + tooMany + `|` + tooLong + `|` + marks + `|a: duplicate key, first in line \d+|unknown)$`)
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n") + 1
		check := func(fault Fault) {
			if !texts.MatchString(fault.Text) || fault.Line < 0 || fault.Line > lines+1 {
				t.Errorf("line %d of %d: %s", fault.Line, lines, fault.Text)
			}
		}
		root, fault := Parse(data)
		if fault != nil {
			if root != (Value{}) {
				t.Error("a value beside a fault")
			}
			check(*fault)
			return
		}
		known := []string{"a"}
		var walk func(v Value, depth int)
		walk = func(v Value, depth int) {
			if depth > 2*maxDepth+1 {
				t.Fatal("too deep")
			}
			_, err := v.Text()
			if kind := v.Kind(); (err == nil) != (kind == Text || kind == Block) || (v.Source() != "") != slices.Contains([]Kind{Int, Float, Bool}, kind) {
				t.Errorf("kind %d: %v, source %q", kind, err, v.Source())
			}
			if _, ok := v.Uint(); ok && v.Kind() != Int {
				t.Errorf("kind %d is a number", v.Kind())
			}
			for _, item := range v.Items() {
				walk(item, depth+1)
			}
			fields, faults := v.Fields(known, func(string) string { return "unknown" })
			for _, fault := range faults {
				check(fault)
			}
			for key, field := range fields {
				if !slices.Contains(known, key) || field.Line() < 1 {
					t.Errorf("%q in line %d", key, field.Line())
				}
				walk(field.Value, depth+1)
			}
		}
		walk(root, 0)
	})
}
