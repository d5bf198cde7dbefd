package process

import (
	"fmt"
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

// However much a stranger sends, of whatever kind, it takes few lines, and the requests of
// apps keep theirs.
func TestLinesOfStrangers(t *testing.T) {
	t.Parallel()
	s := authsvctest.NewSite(t).Serve("memory://")
	before := s.Stderr.Count("request")
	const each = 100
	form := func(values string) func() (*http.Request, error) {
		return func() (*http.Request, error) {
			r, err := http.NewRequest(http.MethodPost, s.URL+"/oauth/token", strings.NewReader(values))
			if err == nil {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			return r, err
		}
	}
	page := func(path string) func() (*http.Request, error) {
		return func() (*http.Request, error) { return http.NewRequest(http.MethodGet, s.URL+path, nil) }
	}
	for _, junk := range []func() (*http.Request, error){
		page("/wp-login.php"), page("/errors"), page("/errors/APIG.2208"), page("/oauth/token"), page("/oauth/verify"),
		page("/.well-known/oauth-authorization-server"), page("/" + strings.Repeat("x", 40_000)),
		form("client_id=x"), form("grant_type=client_credentials&client_id=" + authsvctest.Worker + "&client_secret=guessed-secret"),
		form("grant_type=refresh_token&client_id=" + authsvctest.Worker + "&client_secret=guessed-secret&refresh_token=rt_x"),
		func() (*http.Request, error) {
			r, err := page("/oauth/verify")()
			if err == nil {
				r.Header.Set("Authorization", "Bearer at_"+strings.Repeat("A", 72))
			}
			return r, err
		},
	} {
		for range each {
			r, err := junk()
			if err != nil {
				t.Fatal(err)
			}
			res, err := s.Client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}
	strangers := s.Stderr.Count("request") - before
	if strangers > 3*20 { // of three minutes, if the machine is slow
		t.Errorf("%d lines of %d requests", strangers, 11*each)
	}
	_, metrics := get(t, s.Admin+"/metrics")
	if !strings.Contains(metrics, fmt.Sprintf("\nauthsvc_http_requests_unlogged_total %d\n", 11*each-strangers)) {
		t.Errorf("%d requests have a line, and the others are not counted", strangers)
	}
	for range each {
		s.Issue(authsvctest.Worker)
	}
	redistest.Eventually(t, "the lines of an app", func() bool { return s.Stderr.Count("request") == before+strangers+each })
}
