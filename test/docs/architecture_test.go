package docs

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The map of the packages has each package, with those of ours that it imports.
func TestMapOfPackages(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(docs + "/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	onMap := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `((?:cmd|internal)/[^`]*)` \\| [^|]* \\| ?([^|]*?) ?\\|$")
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		onMap[m[1]] = m[2]
	}

	imports := map[string]map[string]bool{} // by directory
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			pkg, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			if imports[pkg] == nil {
				imports[pkg] = map[string]bool{}
			}
			for _, i := range file.Imports {
				name, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					return err
				}
				if ours, ok := strings.CutPrefix(name, "authsvc/internal/"); ok {
					imports[pkg][ours] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	inCode := map[string]string{}
	for pkg, of := range imports {
		inCode[pkg] = strings.Join(slices.Sorted(maps.Keys(of)), ", ")
	}
	if d := cmp.Diff(inCode, onMap); d != "" {
		t.Errorf("docs/architecture.md (-code +map):\n%s", d)
	}
}

// Every path that the page names exists.
func TestPathsOfArchitecture(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(docs + "/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile("`((?:cmd|internal|test|docs|deploy|bench|\\.ci|\\.golangci\\.yml|docker-compose\\.yml|Makefile|CHANGELOG\\.md)(?:/[\\w./-]*)?)`").FindAllStringSubmatch(string(page), -1)
	for _, m := range paths {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Error(err)
		}
	}
	if len(paths) < 60 {
		t.Errorf("only %d paths were found", len(paths))
	}
}
