package process

import (
	"errors"
	"os/exec"
	"testing"

	"authsvc/internal/authsvctest"
)

// command runs a command of authsvc, and returns its output.
func command(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(authsvctest.Binary(t), args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = exit.Stderr
		}
		t.Fatalf("authsvc %q: %v\n%s", args, err, out)
	}
	return out
}
