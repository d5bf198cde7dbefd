package authsvctest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"authsvc/internal/keyring"
)

// The apps of a Site, all with the same secret. Gateway has the role introspect.
const (
	Worker  = "billing-worker"
	Batch   = "orders-batch-01"
	Gateway = "edge-gateway"
	Secret  = "b1lling-Secret-0001"

	// AppsYAML is the apps file of a new Site.
	AppsYAML = `apps:
  - key: billing-worker
    secret: b1lling-Secret-0001
    scopes: [orders.read, orders.write]
  - key: orders-batch-01
    secret: b1lling-Secret-0001
    scopes: [orders.read]
  - key: edge-gateway
    secret: b1lling-Secret-0001
    roles: [introspect]
`
)

// Binary returns the path of authsvc, built as for production, or with the race
// detector if the test has it. It is built once for each test process.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	// Next to the binary of the tests, it outlives the first test that needs it, and go
	// test removes both.
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(exe), "authsvctest-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "authsvc")
	return path, build(path, raceDetector, "")
})

// BuildPlain builds authsvc as for production, even if the test has the race detector,
// and returns its path.
func BuildPlain(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authsvc")
	if err := build(path, false, ""); err != nil {
		t.Fatal(err)
	}
	return path
}

func build(path string, race bool, overlay string) error {
	args := []string{"build", "-tags", "nomsgpack", "-o", path}
	if race {
		args = append(args, "-race")
	}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if out, err := exec.Command("go", append(args, "authsvc/cmd/authsvc")...).CombinedOutput(); err != nil {
		return fmt.Errorf("building authsvc: %w\n%s", err, out)
	}
	return nil
}

// Site holds what the processes of a service share: an apps file and a keyring.
type Site struct {
	t          *testing.T
	Apps, Keys string
}

// NewSite creates the files of a service.
func NewSite(t *testing.T) *Site {
	t.Helper()
	dir := t.TempDir()
	s := &Site{t: t, Apps: filepath.Join(dir, "apps.yaml"), Keys: filepath.Join(dir, "keys.json")}
	s.WriteApps(AppsYAML)
	if err := keyring.New(time.Now()).CreateFile(s.Keys); err != nil {
		t.Fatal(err)
	}
	return s
}

// WriteApps replaces the apps file as an editor does.
func (s *Site) WriteApps(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.Apps+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.Apps+".new", s.Apps); err != nil {
		s.t.Fatal(err)
	}
}

// RotateSoon adds a key to a keyring that signs a second after the newest, so that
// tests need not wait for it.
func RotateSoon(t *testing.T, keys string) {
	t.Helper()
	err := keyring.Rewrite(keys, func(r *keyring.Keyring) (*keyring.Keyring, error) {
		newest := r.Keys()[len(r.Keys())-1]
		next, _, err := r.Rotate(newest.SignsFrom.Add(-keyring.HastyLead+time.Second), true)
		return next, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Patient holds arguments for tests that are not about a slow store: on a busy machine
// a process can wait longer for its turn than a request waits for the store.
var Patient = []string{"--store-timeout", "5s"}
