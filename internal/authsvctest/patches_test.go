package authsvctest

import (
	"os/exec"
	"path"
	"testing"
)

// Every patch applies to the sources, and the result compiles. For that, it is enough
// to build the patched packages.
func TestPatchesApply(t *testing.T) {
	t.Parallel()
	compile := func(t *testing.T, args ...string) {
		t.Helper()
		args = append([]string{"build", "-tags", "nomsgpack", "-o", "/dev/null"}, args...)
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	// What they import is compiled once, and not by each of those that run side by side.
	compile(t, "authsvc/internal/process")
	for name := range patches {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			list, files, err := overlay(t.TempDir(), name)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"-overlay", list}
			for _, file := range files {
				args = append(args, "authsvc/"+path.Dir(file))
			}
			compile(t, args...)
		})
	}
}
