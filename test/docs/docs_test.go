package docs

import (
	"os"
	"path/filepath"
	"regexp"
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
			run(t, blocks)
		})
	}
}

// run runs the blocks of a page in an empty directory.
func run(t *testing.T, blocks []pagetest.Block) {
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
		"AUTHSVC_STORE_TIMEOUT=5s") // on a busy machine the default may not be enough; that is not what is tested
}

var link = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)

// The targets of the pages' links exist.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages := []string{root + "/README.md"}
	for _, dir := range []string{".", "adr", "howto", "reference", "runbooks"} {
		more, err := filepath.Glob(filepath.Join(docs, dir, "*.md"))
		if err != nil || len(more) == 0 {
			t.Fatal(more, err)
		}
		pages = append(pages, more...)
	}
	for _, page := range pages {
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
