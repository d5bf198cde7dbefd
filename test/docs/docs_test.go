package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/pagetest"
	"authsvc/internal/redistest"
)

const (
	root    = "../.."
	docs    = root + "/docs"
	prelude = docs + "/howto/README.md"

	// sbin is the directory of nginx, which is not on every PATH.
	sbin = "/usr/sbin"
)

func TestTutorial(t *testing.T) {
	t.Parallel()
	run(t, pagetest.Read(t, docs+"/tutorial.md"))
}

func TestHowto(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(docs + "/howto/*.md")
	if err != nil || len(pages) < 9 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			t.Parallel()
			blocks := pagetest.Read(t, page)
			if page != filepath.Clean(prelude) {
				blocks = append(pagetest.Read(t, prelude), blocks...)
			}
			dir := run(t, pagetest.Then(blocks, "cp apps.yaml ../$((STEP += 1)).yaml"))
			want := editing[filepath.Base(page)]
			if edited := onlyEdits(t, dir, want.app); edited != want.times {
				t.Errorf("the page changes the app %q %d times, want %d", want.app, edited, want.times)
			}
		})
	}
}

// run runs the blocks of a page in the empty directory work of the one that it returns.
func run(t *testing.T, blocks []pagetest.Block) string {
	t.Helper()
	for _, tool := range []string{"bash", "redis-server", "nginx", "curl", "openssl"} {
		redistest.Program(t, tool, filepath.Join(sbin, tool))
	}
	dir := t.TempDir()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	deploy, err := filepath.Abs(root + "/deploy")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(deploy, filepath.Join(dir, "deploy")); err != nil {
		t.Fatal(err)
	}
	pagetest.Run(t, work, blocks,
		"PATH="+filepath.Dir(authsvctest.Binary(t))+":"+os.Getenv("PATH")+":"+sbin,
		"STEP=0",
		"AUTHSVC_STORE_TIMEOUT=5s") // on a busy machine the default may not be enough; that is not what is tested
	return dir
}

var link = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)

// The targets of the pages' links exist.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// Every page below docs is reachable from its README.
func TestReachable(t *testing.T) {
	t.Parallel()
	reached := map[string]bool{}
	var follow func(page string)
	follow = func(page string) {
		if reached[page] || filepath.Ext(page) != ".md" {
			return
		}
		reached[page] = true
		data, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			follow(filepath.Join(filepath.Dir(page), m[1]))
		}
	}
	follow(filepath.Clean(docs + "/README.md"))
	for _, page := range pages(t) {
		if !reached[filepath.Clean(page)] {
			t.Errorf("no link leads from docs/README.md to %s", page)
		}
	}
}

var (
	commands = regexp.MustCompile("(?s)```(?:sh|text)\n(.*?)```|\n\n((?:    [^\n]*\n)+)")
	made     = regexp.MustCompile(`(?:[ 2]>>? ?|-keyout |-out |--keys |--apps |-file | tee )([A-Za-z.][\w./-]*)`)
)

// Git ignores every file that the pages make in a clone: most of them are secret. Only
// those of operating.md are always made in its root.
func TestIgnored(t *testing.T) {
	t.Parallel()
	lines, err := os.ReadFile(root + "/.gitignore")
	if err != nil {
		t.Fatal(err)
	}
	patterns := strings.Fields(regexp.MustCompile(`(?m)^#.*`).ReplaceAllString(string(lines), ""))
	names := []string{"secret.txt", "refresh.txt", "ca.pem", "keys.json.new", "apps.yaml.new"} // from the help, and a killed command
	for _, page := range pages(t) {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range commands.FindAllString(string(data), -1) {
			for _, m := range made.FindAllStringSubmatch(block, -1) {
				name := m[1]
				if _, err := os.Stat(filepath.Join(root, name)); err == nil || name == "another-Secret-02" {
					continue // in the repository; or only looks like a file
				}
				switch filepath.Base(page) {
				case "tutorial.md":
					name = "tutorial/" + name
				case "operating.md":
				default:
					names = append(names, "work/"+name)
				}
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names {
		if !slices.ContainsFunc(patterns, func(pattern string) bool { return ignores(pattern, name) }) {
			t.Errorf(".gitignore lacks %s", name)
		}
	}
	if len(names) < 25 {
		t.Errorf("the pages make only %q, so the test sees too little", names)
	}
	t.Log(names)
}

// ignores reports whether a line of .gitignore, of the kinds in use, matches a file.
func ignores(pattern, name string) bool {
	anchored, ok := strings.CutPrefix(pattern, "/")
	switch {
	case strings.HasSuffix(pattern, "/"):
		return ok && strings.HasPrefix(name, anchored)
	case !ok:
		name = path.Base(name)
	}
	match, err := path.Match(anchored, name)
	return match && err == nil
}

// pages returns every page: those of the root, and all below docs.
func pages(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(root + "/*.md")
	if err != nil || len(pages) < 4 {
		t.Fatal(pages, err)
	}
	err = filepath.WalkDir(docs, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}
