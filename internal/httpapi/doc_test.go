package httpapi_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answers matches one answer of a rule: APIG.0201 (414), or 0201 (414).
var answers = regexp.MustCompile(`(\d{4}) \((\d{3})\)`)

func answersIn(text string) (all []string) {
	for _, m := range answers.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1]+" "+m[2])
	}
	return all
}

// The table of precedence in doc.go, the one in the documentation and the one that the
// tests go through have the same rules with the same answers in the same order.
func TestPrecedenceDocumented(t *testing.T) {
	t.Parallel()
	tested := map[string][]string{}
	last := ""
	for _, f := range faults {
		rule := fmt.Sprint(f.rule)
		a := fmt.Sprintf("%s %d", strings.TrimPrefix(f.row.Code(), "APIG."), f.row.Status())
		if rule+a != last { // several faults may have one answer
			tested[rule] = append(tested[rule], a)
		}
		last = rule + a
	}

	read := func(name string, row *regexp.Regexp) map[string][]string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rules := map[string][]string{}
		for _, m := range row.FindAllStringSubmatch(string(b), -1) {
			if rules[m[1]] != nil {
				t.Errorf("%s: %s appears twice", name, m[1])
			}
			rules[m[1]] = answersIn(m[2])
		}
		return rules
	}
	inDoc := read("doc.go", regexp.MustCompile(`(?m)^//\t *(\d+)  (.*)$`))
	onPage := read("../../docs/reference/precedence.md", regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]*) \|`))
	if d := cmp.Diff(tested, inDoc); d != "" {
		t.Errorf("doc.go (-tests +doc):\n%s", d)
	}
	if d := cmp.Diff(tested, onPage); d != "" {
		t.Errorf("docs/reference/precedence.md (-tests +page):\n%s", d)
	}

	// The other endpoints.
	others := read("doc.go", regexp.MustCompile(`(?m)^//\t([a-z]+)  +(.*)$`))
	sections := read("../../docs/reference/precedence.md", regexp.MustCompile("(?ms)^[^\n]*`[^`\n]*/oauth/(introspect|revoke|verify)`: (.*?)(?:^## |\\z)"))
	if d := cmp.Diff(others, sections); d != "" || len(others) != 3 {
		t.Errorf("of introspect, revoke and verify (-doc.go +page):\n%s", d)
	}
}
