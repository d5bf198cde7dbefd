package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// The reference matches the code.
func TestReference(t *testing.T) {
	t.Parallel()
	pages, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(root, dir, name))
		if err != nil {
			t.Errorf("%v; run: %s", err, regenerate)
			continue
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
			t.Errorf("%s/%s does not match the code; run: %s\n(-code +page)\n%s", dir, name, regenerate, diff)
		}
	}
}

// write writes the pages that the test above compares.
func TestWrite(t *testing.T) {
	t.Parallel()
	to := filepath.Join(t.TempDir(), "reference")
	if err := write(to); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"commands.md", "settings.md", "metrics.md", "errors.md", "errors.zh.md"} {
		if b, err := os.ReadFile(filepath.Join(to, name)); err != nil || !strings.HasPrefix(string(b), header) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The page of endpoints is written by hand; it must not leave out any.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, dir, "endpoints.md"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := newExercise()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range e.api.Routes() {
		path, _, _ := strings.Cut(r.Path, ":")
		told := false
		for line := range strings.Lines(string(page)) {
			told = told || strings.Contains(line, path) && strings.Contains(line, r.Method)
		}
		if !told {
			t.Errorf("%s/endpoints.md has no line with %s and %s", dir, r.Method, path)
		}
	}
}
