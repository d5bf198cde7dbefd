package systemd

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

const deploy = "../../deploy/systemd"

// The unit is valid, and permits the process little that could do harm.
func TestUnit(t *testing.T) {
	t.Parallel()
	analyze := redistest.Program(t, "systemd-analyze")
	unit, err := os.ReadFile(filepath.Join(deploy, "authsvc.service"))
	if err != nil {
		t.Fatal(err)
	}
	// The programs that it starts are in other places on this machine.
	text := strings.ReplaceAll(string(unit), "/usr/local/bin/authsvc", authsvctest.Binary(t))
	text = regexp.MustCompile(`(?m)^Documentation=.*\n`).ReplaceAllString(text, "")
	here := filepath.Join(t.TempDir(), "authsvc.service")
	if err := os.WriteFile(here, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", here).CombinedOutput(); err != nil || strings.Contains(string(out), "authsvc.service") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", here).CombinedOutput()
	if err != nil {
		t.Errorf("the exposure is 2.0 or more: %v\n%s", err, out)
	}
}

// The settings that come with the unit have no faults, and the user is that of the
// unit.
func TestFilesOfTheUnit(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(authsvctest.Binary(t), "config", "check", "--config", filepath.Join(deploy, "authsvc.yaml")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	unit, _ := os.ReadFile(filepath.Join(deploy, "authsvc.service"))
	users, _ := os.ReadFile(filepath.Join(deploy, "sysusers.conf"))
	if !strings.Contains(string(unit), "\nUser=authsvc\n") || !strings.Contains(string(users), "\nu authsvc ") {
		t.Error("the unit has another user than sysusers.conf")
	}
}

// manager is the part of systemd that a process notifies. It keeps the notifications.
type manager struct {
	socket string
	mu     sync.Mutex
	told   []string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{socket: filepath.Join(t.TempDir(), "notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.told = append(m.told, string(buf[:n]))
			m.mu.Unlock()
		}
	}()
	return m
}

// all returns the notifications so far, without those for the watchdog.
func (m *manager) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.told), func(s string) bool { return s == watchdog })
}

func (m *manager) count(what string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.told {
		if s == what {
			n++
		}
	}
	return n
}

func (m *manager) wait(t *testing.T, what string) {
	t.Helper()
	redistest.Eventually(t, what, func() bool { return m.count(what) > 0 })
}

const (
	waiting  = "STATUS=Serving; the token store has not answered yet"
	answers  = "STATUS=Serving; the token store answers"
	lost     = "STATUS=Serving; the token store is unavailable; requests that need it are answered with APIG.0613"
	ready    = "READY=1"
	stopping = "STOPPING=1"
	watchdog = "WATCHDOG=1"
)

// start starts authsvc as systemd does: with these environment variables for the
// process itself.
func (m *manager) start(t *testing.T, store string, env ...string) *authsvctest.Server {
	t.Helper()
	script := filepath.Join(t.TempDir(), "authsvc")
	text := "#!/bin/sh\nexport NOTIFY_SOCKET=" + m.socket + " " + strings.Join(env, " ") + "\nexec " + authsvctest.Binary(t) + " \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return authsvctest.NewSite(t).StartBinary(script, store, "--drain", "0s", "--store-timeout", "5s")
}

// READY is sent once the listeners are open, STOPPING when the drain begins, and in
// between whether the store answers.
func TestNotify(t *testing.T) {
	t.Parallel()
	r, m := redistest.Start(t), newManager(t)
	s := m.start(t, r.URL())
	s.WaitReady()
	m.wait(t, ready)
	m.wait(t, answers)
	s.Signal(syscall.SIGTERM)
	s.WaitEnded()
	m.wait(t, stopping)
	told := m.all()
	if len(told) != 4 || told[0] != waiting || told[3] != stopping || !slices.Contains(told[1:3], ready) || !slices.Contains(told[1:3], answers) {
		t.Errorf("systemd was told %q", told)
	}
}

// With Redis unavailable, the process starts nevertheless, and says what it waits for,
// and when Redis answers.
func TestNotifyWithoutRedis(t *testing.T) {
	t.Parallel()
	r, m := redistest.Start(t), newManager(t)
	r.Kill()
	s := m.start(t, r.URL())
	m.wait(t, ready)
	m.wait(t, lost)
	if s.Ready() || m.count(answers) > 0 {
		t.Error("the process is ready without its Redis")
	}
	r.Restart()
	m.wait(t, answers)
	s.WaitReady()
	s.Signal(syscall.SIGTERM)
	s.WaitEnded()
	m.wait(t, stopping)
	told := m.all()
	if told[0] != waiting || slices.Index(told, lost) > slices.Index(told, answers) || told[len(told)-1] != stopping || m.count(ready) != 1 {
		t.Errorf("systemd was told %q", told)
	}
}

// The process notifies the watchdog as long as it is alive, and only if systemd wants
// it.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	s := m.start(t, "memory://", "WATCHDOG_USEC=300000", "WATCHDOG_PID=$$")
	redistest.Eventually(t, "three signs of life", func() bool { return m.count(watchdog) >= 3 })
	s.Signal(syscall.SIGTERM)
	s.WaitEnded()

	other := newManager(t)
	without := other.start(t, "memory://")
	other.wait(t, ready)
	without.WaitReady()
	without.Signal(syscall.SIGTERM)
	without.WaitEnded()
	other.wait(t, stopping)
	if n := other.count(watchdog); n > 0 {
		t.Errorf("%d unwanted signs of life", n)
	}
}
