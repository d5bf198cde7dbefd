package process

import (
	"bytes"
	"errors"
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

// No file that is put in the place of one of the service's ends it: not for memory, not by
// a stack overflow, not by taking its time.
func TestHostileFiles(t *testing.T) {
	site := authsvctest.NewSite(t)
	s := authsvctest.Start(t, authsvctest.BuildPlain(t), "--store", "memory://", "--apps", site.Apps, "--keys", site.Keys, "--log-level", "debug")
	s.WaitReady()
	apps := func(text string) func() error {
		return func() error { site.WriteApps(text); return nil }
	}
	for name, put := range map[string]func() error{
		"tags":     apps(strings.Repeat("!!x ", 1<<20)),
		"anchors":  apps(strings.Repeat("&x ", 90_000)), // few enough to be read
		"brackets": apps(strings.Repeat("[", 50_000)),
		"items":    apps("apps: [" + strings.Repeat("x,", 290_000) + "]"),
		"text":     apps("apps: " + strings.Repeat("x ", 1<<22-10)),
		"a file without end": func() error {
			f, err := os.CreateTemp(filepath.Dir(site.Apps), "large")
			if err == nil {
				err = errors.Join(f.Truncate(1<<40), f.Close(), os.Rename(f.Name(), site.Apps))
			}
			return err
		},
		"a keyring without end": func() error {
			f, err := os.CreateTemp(filepath.Dir(site.Keys), "large")
			if err == nil {
				err = errors.Join(f.Truncate(1<<40), f.Close(), os.Rename(f.Name(), site.Keys))
			}
			return err
		},
		"a deep keyring": func() error { return os.WriteFile(site.Keys, bytes.Repeat([]byte("["), 1<<20-1), 0o600) },
	} {
		refused := s.Stderr.Count("a changed file was refused; the previous version stays in use")
		if err := put(); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, name+" to be refused", func() bool {
			return s.Stderr.Count("a changed file was refused; the previous version stays in use") > refused
		})
		authsvctest.Want(t, name, s.Issue(authsvctest.Worker), 200, "")
	}
	if peak := s.PeakMemory() >> 20; peak > 512 {
		t.Errorf("peak of %d MiB", peak)
	} else {
		t.Logf("peak of %d MiB", peak)
	}
}
