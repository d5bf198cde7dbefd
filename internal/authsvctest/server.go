package authsvctest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/redistest"
)

// Server is a running authsvc serve. It ends with the test.
type Server struct {
	t *testing.T

	URL, Admin     string // the URLs of the two listeners
	Cmd            *exec.Cmd
	Stdout, Stderr *Log
	Ended          chan struct{} // closed once the process has exited
	Client         *http.Client

	paused bool // continued at the end of the test
}

// Serve starts authsvc with a store, and waits until it is ready.
func (s *Site) Serve(store string, args ...string) *Server {
	s.t.Helper()
	srv := s.Start(store, args...)
	srv.WaitReady()
	return srv
}

// Start starts authsvc with a store.
func (s *Site) Start(store string, args ...string) *Server {
	s.t.Helper()
	return s.StartBinary(Binary(s.t), store, args...)
}

// StartBinary is like Start, with another build of authsvc.
func (s *Site) StartBinary(binary, store string, args ...string) *Server {
	s.t.Helper()
	return Start(s.t, binary, append([]string{"--store", store, "--apps", s.Apps, "--keys", s.Keys}, args...)...)
}

// Start starts authsvc serve, on free ports, and waits until it listens.
func Start(t *testing.T, binary string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, Stdout: newLog(), Stderr: newLog(), Ended: make(chan struct{})}
	s.Cmd = exec.Command(binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
	s.Cmd.Stdout, s.Cmd.Stderr = s.Stdout, s.Stderr
	if err := s.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Cmd.Wait(); close(s.Ended) }()
	t.Cleanup(func() {
		if s.paused { // it would not see the signal to stop
			s.Resume()
		}
		s.stop()
		select {
		case <-s.Ended:
		case <-time.After(time.Minute):
			_ = s.Cmd.Process.Kill()
			<-s.Ended
			t.Errorf("the process did not end:\n%s", s.Stderr.Text())
		}
		if strings.Contains(s.Stderr.Text(), "DATA RACE") {
			t.Errorf("data race:\n%s", s.Stderr.Text())
		}
		if t.Failed() {
			t.Logf("%s logged these warnings:\n%s", s.URL, s.Stderr.warnings())
		}
	})
	e := s.Stderr.Event(t, "serving", s.Ended)
	scheme := "http://"
	if strings.Contains(strings.Join(args, " "), "--tls-cert") {
		scheme = "https://"
	}
	s.URL, s.Admin = scheme+e["listen"].(string), "http://"+e["admin_listen"].(string)
	s.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(s.Client.CloseIdleConnections)
	return s
}

// stop makes the process exit without waiting for balancers: that takes a second
// signal, and one that comes too soon after the first does not count as a second.
func (s *Server) stop() {
	_ = s.Cmd.Process.Signal(os.Interrupt)
	for range 1000 {
		select {
		case <-s.Ended:
			return
		case <-time.After(5 * time.Millisecond):
		}
		if s.Stderr.Count("stopping") > 0 {
			_ = s.Cmd.Process.Signal(os.Interrupt)
			return
		}
	}
}

// WaitEnded waits until the process has exited, and returns its exit status.
func (s *Server) WaitEnded() int {
	s.t.Helper()
	select {
	case <-s.Ended:
	case <-time.After(time.Minute):
		s.t.Fatalf("the process does not end:\n%s", s.Stderr.Text())
	}
	return s.Cmd.ProcessState.ExitCode()
}

// Ready reports whether /readyz answers 200.
func (s *Server) Ready() bool {
	res, err := s.Client.Get(s.Admin + "/readyz")
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// WaitReady waits until /readyz answers 200.
func (s *Server) WaitReady() {
	s.t.Helper()
	redistest.Eventually(s.t, "the process to be ready", s.Ready)
}

// Metrics returns the body of /metrics.
func (s *Server) Metrics() string {
	s.t.Helper()
	res, err := s.Client.Get(s.Admin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := read(res)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(a.Body)
}

// Metric returns the value of a series, and reports whether there is one with this name
// and these labels.
func (s *Server) Metric(series string) (value float64, ok bool) {
	s.t.Helper()
	_, rest, ok := strings.Cut(s.Metrics(), "\n"+series+" ")
	if !ok {
		return 0, false
	}
	text, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.t.Fatalf("%s is %q", series, text)
	}
	return value, true
}

// Counters returns the counters and gauges of the service that are not zero, one a line, or
// why there are none.
func (s *Server) Counters() string {
	res, err := s.Client.Get(s.Admin + "/metrics")
	if err != nil {
		return err.Error()
	}
	a, err := read(res)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for line := range strings.Lines(string(a.Body)) {
		if strings.HasPrefix(line, "authsvc_") && !strings.Contains(line, "_bucket{") && !strings.HasSuffix(line, " 0\n") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// WaitMetric waits until /metrics has a line.
func (s *Server) WaitMetric(line string) {
	s.t.Helper()
	redistest.Eventually(s.t, line, func() bool { return strings.Contains(s.Metrics(), "\n"+line+"\n") })
}

// PeakMemory returns the peak resident memory of the process, in bytes.
func (s *Server) PeakMemory() int {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		s.t.Fatalf("no VmHWM in %s", status)
	}
	return kib << 10
}

// Pause freezes the process: its connections stay open, and it does nothing. It returns
// once the process has stopped.
func (s *Server) Pause() {
	s.t.Helper()
	redistest.Pause(s.t, s.Cmd.Process)
	s.paused = true
}

// Resume continues a paused process, with what reached it meanwhile.
func (s *Server) Resume() {
	s.t.Helper()
	s.Signal(syscall.SIGCONT)
	s.paused = false
}

// Signal sends the process a signal.
func (s *Server) Signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.Cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
