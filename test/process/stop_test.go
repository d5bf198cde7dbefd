package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// pipe puts a named pipe in the place of a file, so that reading it never ends.
func pipe(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path+".pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".pipe", path); err != nil {
		t.Fatal(err)
	}
}

// reading waits until a process reads a named pipe.
func reading(t *testing.T, path string) {
	t.Helper()
	redistest.Eventually(t, "the file to be read", func() bool {
		w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return false
		}
		t.Cleanup(func() { w.Close() })
		return true
	})
}

// SIGTERM does not wait for a file, neither at the start nor when one is read again.
func TestStopWhileReading(t *testing.T) {
	t.Parallel()
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		for _, file := range []string{"keys", "config"} {
			s := authsvctest.NewSite(t)
			path := filepath.Join(t.TempDir(), file)
			pipe(t, path)
			args := []string{"serve", "--store", "memory://", "--apps", s.Apps, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--" + file, path}
			c := exec.Command(authsvctest.Binary(t), args...)
			start(t, c, nil)
			reading(t, path)
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait() // or the test never ends
		}
	})
	t.Run("reload", func(t *testing.T) {
		t.Parallel()
		site := authsvctest.NewSite(t)
		s := site.Serve("memory://", "--drain", "1s")
		pipe(t, site.Keys)
		reading(t, site.Keys)
		s.Issue(authsvctest.Worker) // goes on
		s.Signal(syscall.SIGTERM)
		if code := s.WaitEnded(); code != 0 {
			t.Errorf("exit status %d", code)
		}
	})
}

// At its start the process warns of files that others can change.
func TestWritableFiles(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	if err := os.Chmod(site.Apps, 0o622); err != nil {
		t.Fatal(err)
	}
	s := site.Serve("memory://")
	for _, line := range []string{`"check":"writable_files","severity":"warning","subject":"` + site.Apps + `"`, `"fix":"chmod go-w `} {
		if !strings.Contains(s.Stderr.Text(), line) {
			t.Errorf("no %s in the log:\n%s", line, s.Stderr.Text())
		}
	}
}
