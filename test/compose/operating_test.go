//go:build compose

package compose

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"authsvc/internal/pagetest"
)

// The page for operators is run as a new operator would do it: in a clean copy, from
// the top.
func TestOperating(t *testing.T) {
	images(t)
	current, _ := composes(t)
	s := newStack(t, checkout(t), current)
	// The page itself sets the version in .env, later on, which the environment would
	// override.
	version := "AUTHSVC_VERSION=" + s.project
	if err := os.WriteFile(filepath.Join(s.dir, ".env"), []byte(version+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := slices.DeleteFunc(slices.Clone(s.env), func(e string) bool { return e == version })
	t.Cleanup(func() { removeImage("authsvc:next") })
	plugins := t.TempDir()
	if err := os.Mkdir(filepath.Join(plugins, "cli-plugins"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(current[0], filepath.Join(plugins, "cli-plugins", "docker-compose")); err != nil {
		t.Fatal(err)
	}
	pagetest.Run(t, s.dir, pagetest.Read(t, root+"/docs/operating.md"),
		append(env, "COMPOSE_PROJECT_NAME="+s.project, "DOCKER_CONFIG="+plugins)...)
}

// checkout copies what a clone would contain if everything here were committed.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		from := filepath.Join(root, name)
		info, err := os.Stat(from)
		if os.IsNotExist(err) {
			continue // deleted, but not committed
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
