package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	t.Parallel()
	const again = "go test -run {run} {package}"
	for _, tt := range []struct{ name, events, want string }{
		{"all passes", `
{"Action":"start","Package":"authsvc/a"}
{"Action":"run","Package":"authsvc/a","Test":"TestA"}
{"Action":"output","Package":"authsvc/a","Test":"TestA","Output":"--- FAIL: TestB\n"}
{"Action":"pass","Package":"authsvc/a","Test":"TestA"}
{"Action":"pass","Package":"authsvc/a"}`, ""},
		{"substitutes, each once", `
{"Action":"attr","Package":"authsvc/a","Test":"TestA/part","Key":"substitute","Value":"one for two"}
{"Action":"attr","Package":"authsvc/b","Test":"TestA","Key":"substitute","Value":"one for two"}
{"Action":"attr","Package":"authsvc/b","Test":"TestA","Key":"other","Value":"nothing"}
{"Action":"attr","Package":"authsvc/b","Test":"TestA","Key":"substitute","Value":"a for b"}`, `
=== Shown by a substitute only, for lack of a permission
a for b
one for two
`},
		{"failures, and what did not come to its end", `
{"ImportPath":"authsvc/c [authsvc/c.test]","Action":"build-fail"}
{"Action":"fail","Package":"authsvc/c","FailedBuild":"authsvc/c [authsvc/c.test]"}
{"Action":"run","Package":"authsvc/b/b","Test":"TestGood"}
{"Action":"run","Package":"authsvc/b/b","Test":"TestBad"}
{"Action":"run","Package":"authsvc/b/b","Test":"TestBad/part"}
{"Action":"run","Package":"authsvc/b/b","Test":"TestLong"}
{"Action":"fail","Package":"authsvc/b/b","Test":"TestBad/part"}
{"Action":"fail","Package":"authsvc/b/b","Test":"TestBad"}
{"Action":"pass","Package":"authsvc/b/b","Test":"TestGood"}
{"Action":"fail","Package":"authsvc/b/b"}`, `
=== To run only what failed
go test -run '^(TestBad|TestLong)$' ./b/b
go test -run '.' ./c
`},
	} {
		got, err := report(strings.NewReader(strings.TrimSpace(tt.events)), again)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestDone(t *testing.T) {
	t.Parallel()
	env := map[string]string{"TESTS_TOTAL": "7", "TESTS_SKIPPED": "0", "TESTS_FAILED": "2", "TESTS_ERRORS": "0", "GOTESTSUM_ELAPSED": "1.500s"}
	if got, want := done(func(name string) string { return env[name] }), "DONE 7 tests, 2 failures in 1.500s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
