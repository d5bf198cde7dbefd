// Testreport owns what the end of a test run says besides gotestsum's summary.
// gotestsum calls it (--post-run-command), and it prints how to rerun only what failed,
// and which substitutes were used because something is not permitted on this machine. A
// test names a substitute with t.Attr("substitute", ...). It prints nothing for a run
// without either.
//
// Its argument is the command that reruns tests, with {run} and {package} in it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	events, err := os.Open(os.Getenv("GOTESTSUM_JSONFILE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer events.Close()
	text, err := report(events, os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if text == "" {
		return
	}
	fmt.Print(text)
	fmt.Println("\n" + done(os.Getenv))
}

// done returns gotestsum's last line, which is repeated so that it ends the output.
func done(env func(string) string) string {
	line := "DONE " + env("TESTS_TOTAL") + " tests"
	for _, count := range []struct{ name, of string }{
		{"TESTS_SKIPPED", "skipped"}, {"TESTS_FAILED", "failures"}, {"TESTS_ERRORS", "errors"},
	} {
		if n := env(count.name); n != "0" {
			line += ", " + n + " " + count.of
		}
	}
	return line + " in " + env("GOTESTSUM_ELAPSED")
}

// report reads the events of go test -json, and returns the text to print.
func report(events io.Reader, again string) (string, error) {
	substitutes := map[string]bool{}
	open := map[string]map[string]bool{} // by package: tests that failed or did not finish
	failed := map[string]bool{}          // packages
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil && err != io.EOF {
			return "", err
		}
		var e struct{ Action, Package, Test, Key, Value string }
		if err := json.Unmarshal(line, &e); err != nil {
			return "", fmt.Errorf("%w in %q", err, line)
		}
		test, _, isPart := strings.Cut(e.Test, "/")
		switch {
		case e.Action == "attr" && e.Key == "substitute":
			substitutes[e.Value] = true
		case e.Test == "" && e.Action == "fail":
			failed[e.Package] = true
		case isPart:
		case e.Action == "run":
			if open[e.Package] == nil {
				open[e.Package] = map[string]bool{}
			}
			open[e.Package][test] = true
		case e.Action == "pass", e.Action == "skip":
			delete(open[e.Package], test)
		}
	}

	var b strings.Builder
	if len(substitutes) > 0 {
		b.WriteString("\n=== Shown by a substitute only, for lack of a permission\n")
		for _, what := range slices.Sorted(maps.Keys(substitutes)) {
			fmt.Fprintln(&b, what)
		}
	}
	if len(failed) > 0 {
		b.WriteString("\n=== To run only what failed\n")
		for _, pkg := range slices.Sorted(maps.Keys(failed)) {
			run := "." // it does not build, or exits before a test begins
			if tests := slices.Sorted(maps.Keys(open[pkg])); len(tests) > 0 {
				run = "^(" + strings.Join(tests, "|") + ")$"
			}
			fmt.Fprintln(&b, strings.NewReplacer("{run}", "'"+run+"'", "{package}", "./"+strings.TrimPrefix(pkg, "authsvc/")).Replace(again))
		}
	}
	return b.String(), nil
}
