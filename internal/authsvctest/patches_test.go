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
	for name := range patches {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			list, files, err := overlay(t.TempDir(), name)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"build", "-tags", "nomsgpack", "-overlay", list, "-o", "/dev/null"}
			for _, file := range files {
				args = append(args, "authsvc/"+path.Dir(file))
			}
			if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
