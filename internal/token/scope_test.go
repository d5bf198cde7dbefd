package token

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNarrow(t *testing.T) {
	may := []string{"a", "b", "c"}
	tests := []struct{ asked, want, code string }{
		{"", "a b c", ""},
		{"default", "a b c", ""},
		{"b", "b", ""},
		{"c a", "a c", ""},
		{"a a a", "a", ""},
		{"  c   b ", "b c", ""},
		{" ", "", "2205"},
		{"d", "", "2205"},
		{"a d", "", "2205"},
		{"a default", "", "2205"},
		{"A", "", "2205"},
		{"a,b", "", "2205"},
		{"a\nb", "", "2205"},
		{strings.Repeat("a ", 2048), "a", ""},
		{strings.Repeat("a ", 2048) + "a", "", "2205"},
	}
	for _, tt := range tests {
		got, err := narrow(may, tt.asked, "the app")
		if got != tt.want || code(err) != tt.code {
			t.Errorf("narrow(%.20q): %q, %q; want %q, %q", tt.asked, got, code(err), tt.want, tt.code)
		}
	}
	if got, err := narrow(nil, "", "the app"); got != "" || err != nil {
		t.Errorf("an app without scopes gets %q, %v", got, err)
	}
}

// Some clients join scopes with commas: the hint says what is wrong with that, unless a
// scope is called so.
func TestCommasBetweenScopes(t *testing.T) {
	for _, asked := range []string{"a,b", "a,", ",", "a, b", "b a,c"} {
		if _, err := narrow([]string{"a", "b", "c"}, asked, "the app"); !strings.Contains(hint(err), "Separate scopes with spaces") {
			t.Errorf("%q: %v", asked, err)
		}
	}
	if got, err := narrow([]string{"a,b", "a"}, "a,b", "the app"); got != "a,b" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// However it is asked, nobody gets a scope that may not be had, or that was not asked for.
func TestNarrowNeverWidens(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d", "default"})
	rapid.Check(t, func(t *rapid.T) {
		may := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.ID[string]).Draw(t, "may")
		names := rapid.SliceOf(name).Draw(t, "asked")
		asked := strings.Join(names, " ")
		got, err := narrow(may, asked, "the app")
		if err != nil {
			if code(err) != "2205" || got != "" {
				t.Fatalf("%q, %v", got, err)
			}
			return
		}
		all := asked == "" || asked == "default"
		for _, s := range scopeNames(got) {
			if !slices.Contains(may, s) || !all && !slices.Contains(names, s) {
				t.Fatalf("%q of %q gives %q", asked, may, got)
			}
		}
		if again, err := narrow(scopeNames(got), got, ""); got != "" && (err != nil || again != got) {
			t.Fatalf("%q asked for again gives %q, %v", got, again, err)
		}
		if !sameScope(got, asked) {
			t.Fatalf("the repetition of %q is not the same as %q", asked, got)
		}
	})
}
