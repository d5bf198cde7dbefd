package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// brief is findings as the tables have them: "error redis_role 10.0.0.1:6379".
func brief(found []Finding) []string {
	list := []string{}
	for _, f := range found {
		list = append(list, fmt.Sprint(f.Severity, " ", f.Check, " ", f.Subject))
	}
	return list
}

// wantFindings compares findings with a list of brief ones, and holds each to what
// all have in common.
func wantFindings(t *testing.T, found []Finding, want []string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), brief(found)); diff != "" {
		t.Error(diff)
	}
	for _, f := range found {
		if f.What == "" || f.Why == "" || f.Fix == "" || !strings.HasSuffix(f.What, ".") || !strings.HasSuffix(f.Why, ".") {
			t.Errorf("%+v is no finding", f)
		}
		if !slices.Contains(Checks(), f.Check) {
			t.Errorf("%s is not among the checks", f.Check)
		}
	}
}

// Every check finds something in one of the tables.
func TestEveryCheckIsTested(t *testing.T) {
	t.Parallel()
	var all []string
	for _, tt := range redisTests {
		all = append(all, tt.want...)
	}
	for _, tt := range fileTests {
		all = append(all, tt.want...)
	}
	all = append(all, permissionsWant, unavailableWant, replicaWant)
	for _, check := range Checks() {
		if !slices.ContainsFunc(all, func(brief string) bool { return strings.Fields(brief)[1] == check }) {
			t.Errorf("%s: no test has it", check)
		}
	}
	if names := Checks(); len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Error("two checks have one name")
	}
}

func TestHowtoHasEveryCheck(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/howto/check-an-installation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ = bytes.Cut(page, []byte("## The checks"))
	var names []string
	for line := range strings.Lines(string(page)) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok {
			names = append(names, name)
		}
	}
	if diff := cmp.Diff(Checks(), names); diff != "" {
		t.Error(diff)
	}
}

func TestFindingInJSON(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(Finding{"c", "s", Warning, "What.", "Why.", "Fix."})
	const want = `{"check":"c","subject":"s","severity":"warning","what":"What.","why":"Why.","fix":"Fix."}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// A person reads one form of a finding everywhere, in which no part of it can pretend to
// be another, and a log has all of it.
func TestFindingAsText(t *testing.T) {
	t.Parallel()
	f := Finding{RedisRole, "a\nb", Error, "It is\nwrong.", "It matters.", "fix\nit"}
	const want = "error  redis_role  a?b\nIt is?wrong.\n  Why: It matters.\n  Fix: fix?it"
	if got := f.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (Finding{What: "It is wrong.", Fix: "fix it"}).Warning(); got != "It is wrong. Fix: fix it" {
		t.Errorf("%q", got)
	}
	for check, prefix := range map[string]string{RedisRole: "Redis: ", RedisExpiry: "Redis: ", KeyringPermissions: ""} {
		var log bytes.Buffer
		f := Finding{check, "s", Warning, "What.", "Why.", "Fix."}
		f.Log(slog.New(slog.NewJSONHandler(&log, nil)))
		want := fmt.Sprintf(`"level":"WARN","msg":"%sWhat.","check":"%s","severity":"warning","subject":"s","why":"Why.","fix":"Fix."}`, prefix, check)
		if !strings.HasSuffix(strings.TrimSpace(log.String()), want) {
			t.Errorf("%s; want %s at the end", log.String(), want)
		}
	}
}

func TestSeverities(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		severity Severity
		name     string
		level    slog.Level
	}{{Note, "note", slog.LevelInfo}, {Warning, "warning", slog.LevelWarn}, {Error, "error", slog.LevelError}} {
		if tt.severity.String() != tt.name || tt.severity.Level() != tt.level {
			t.Errorf("%s: %v %v", tt.name, tt.severity, tt.severity.Level())
		}
	}
	if worst := Worst(nil); worst != Note {
		t.Errorf("the worst of nothing is %v", worst)
	}
	if worst := Worst([]Finding{{Severity: Warning}, {Severity: Error}, {}}); worst != Error {
		t.Errorf("the worst is %v", worst)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	memory := Finding{Check: RedisMemory, Subject: "a", Severity: Warning, What: "91%."}
	more := memory
	more.What = "92%."
	elsewhere, worse := memory, memory
	elsewhere.Subject, worse.Severity = "b", Error
	for _, tt := range []struct{ before, after, appeared, gone []Finding }{
		{nil, nil, nil, nil},
		{nil, []Finding{memory}, []Finding{memory}, nil},
		{[]Finding{memory}, []Finding{more}, nil, nil},
		{[]Finding{memory}, []Finding{elsewhere}, []Finding{elsewhere}, []Finding{memory}},
		{[]Finding{memory}, []Finding{worse}, []Finding{worse}, []Finding{memory}},
		{[]Finding{memory, elsewhere}, []Finding{memory}, nil, []Finding{elsewhere}},
	} {
		appeared, gone := Changes(tt.before, tt.after)
		if diff := cmp.Diff([][]Finding{tt.appeared, tt.gone}, [][]Finding{appeared, gone}); diff != "" {
			t.Error(diff)
		}
	}
}

// What is made for a shell means what it says.
func TestShell(t *testing.T) {
	t.Parallel()
	for _, words := range [][]string{
		{"ACL", "SETUSER", "app", "+config|get", "~authsvc:*"},
		{"chmod", "600", "it's a file", "$HOME", "`id`", ""},
	} {
		out, err := exec.Command("sh", "-c", "printf '%s\\n' "+shell(words...)).Output()
		if diff := cmp.Diff(words, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")); diff != "" || err != nil {
			t.Errorf("%s: %v: %s", shell(words...), err, diff)
		}
	}
	if got := shell("redis-cli", "-h", "::1", "CONFIG"); got != "redis-cli -h ::1 CONFIG" {
		t.Errorf("more quotes than needed: %s", got)
	}
}
