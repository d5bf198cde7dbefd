package process

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// Whatever becomes of the log, the service goes on, and counts the lines that are lost.
func TestLogIsLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		// lose starts c with its standard error, and makes that unwritable.
		lose func(t *testing.T, c *exec.Cmd)
		exit int
	}{
		{"the reader is gone", func(t *testing.T, c *exec.Cmd) {
			r, err := c.StderrPipe()
			start(t, c, err)
			r.Close()
		}, 0},
		{"and that of standard output, to which --dev prints", func(t *testing.T, c *exec.Cmd) {
			r, err := c.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.StdoutPipe()
			start(t, c, err)
			r.Close()
			out.Close()
		}, 1},
		{"journald is gone", func(t *testing.T, c *exec.Cmd) {
			pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
			c.Stderr = theirs
			start(t, c, nil)
			theirs.Close()
			ours.Close()
		}, 0},
		{"the disk is full", func(t *testing.T, c *exec.Cmd) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			c.Stderr = full
			start(t, c, nil)
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			public, admin := "127.0.0.1:"+redistest.FreePort(t), "127.0.0.1:"+redistest.FreePort(t)
			c := exec.Command(authsvctest.Binary(t), "serve", "--dev", "--listen", public, "--admin-listen", admin, "--drain", "1s")
			tt.lose(t, c)
			redistest.Eventually(t, "the service to be ready", func() bool {
				code, _ := get(t, "http://"+admin+"/readyz")
				return code == http.StatusOK
			})
			for range 10 {
				if code, body := get(t, "http://"+public+"/oauth/verify"); code != http.StatusUnauthorized || !strings.Contains(body, "APIG.0305") {
					t.Fatalf("%d %s", code, body)
				}
			}
			redistest.Eventually(t, "the lost lines to be counted", func() bool {
				_, metrics := get(t, "http://"+admin+"/metrics")
				m := regexp.MustCompile(`(?m)^authsvc_log_lines_dropped_total (\d+)$`).FindStringSubmatch(metrics)
				if m == nil {
					return false
				}
				n, _ := strconv.Atoi(m[1])
				return n >= 10
			})
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait()
			if code := c.ProcessState.ExitCode(); code != tt.exit {
				t.Errorf("exit status %d, want %d", code, tt.exit)
			}
		})
	}
}

func start(t *testing.T, c *exec.Cmd, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
}

// get returns the status of a page, 0 if there is none, and the page.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}
