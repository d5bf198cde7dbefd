package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every place that names the version agrees with internal/cli/VERSION.
func TestVersionEverywhere(t *testing.T) {
	t.Parallel()
	const root = "../.."
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	version := strings.TrimSpace(treeVersion)
	m := regexp.MustCompile(`^(\d+\.\d+)\.\d+(-dev)?$`).FindStringSubmatch(version)
	if m == nil {
		t.Fatalf("%q is not a version", version)
	}
	minor, released := m[1], strings.TrimSuffix(version, m[2])

	if _, out, _ := authsvc("", "version"); !strings.HasPrefix(out, "authsvc "+version+"\n") {
		t.Errorf("authsvc version: %s", out)
	}

	// What comes after a release is unreleased. Between releases, the changelog says which
	// one is next.
	changes := read("CHANGELOG.md")
	unreleased, newest, want := "\n## Unreleased\n\nThis will be "+released+".\n", "", ""
	if m[2] == "" {
		unreleased = "\n## Unreleased\n"
		want = released + " - "
	}
	_, rest, ok := strings.Cut(changes, unreleased)
	if _, newest, _ = strings.Cut(rest, "\n## "); !ok || !strings.HasPrefix(newest, want) {
		t.Errorf("CHANGELOG.md does not begin with %q, and then %q", unreleased, want)
	}

	for _, place := range []struct{ file, text string }{
		{"Makefile", "VERSION  ?= $(shell cat internal/cli/VERSION)\n"},
		{"deploy/Dockerfile", "ARG VERSION=\n"},
		{"docker-compose.yml", "(" + version + ")\n"},
		{"docker-compose.yml", `image: "authsvc:${AUTHSVC_VERSION:-` + version + `}"`},
		{"docker-compose.yml", `VERSION: "${AUTHSVC_VERSION:-}"`},
		{"SECURITY.md", "| " + minor + " |"},
	} {
		if !strings.Contains(read(place.file), place.text) {
			t.Errorf("%s lacks %q", place.file, place.text)
		}
	}
}
