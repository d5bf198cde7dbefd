package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// Many clients send the heads of their requests slowly, or the bodies, or read their
// answers slowly, and some do not read at all. Nobody else is kept waiting, memory
// stays small, and each of these connections is closed at its timeout.
func TestSlowClients(t *testing.T) {
	sideBySide(t)
	if !*full {
		slowClients(t, authsvctest.BuildPlain(t), 200).none(t)
		return
	}
	// Most of the time is spent waiting for the timeouts, so the two run in parallel.
	t.Run("all limits", func(t *testing.T) {
		t.Parallel()
		slowClients(t, authsvctest.BuildPlain(t), 2000).none(t)
	})
	control(t, "connections have no timeouts", func(t *testing.T) {
		t.Parallel()
		f := slowClients(t, authsvctest.BuildPatched(t, authsvctest.ConnectionsStay), 200)
		for _, name := range []string{"slow heads", "slow bodies", "no reading", "slow reading"} {
			f.some(t, name+": still held")
		}
	})
}

// slowClients runs a number of slow clients, a third of each kind, along with other
// traffic.
func slowClients(t *testing.T, binary string, number int) *findings {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Max < uint64(number+200) {
		t.Fatalf("authsvc cannot hold %d connections with %d file descriptors (ulimit -Hn): %v", number, files.Max, err)
	}
	s := authsvctest.NewSite(t).StartBinary(binary, redistest.Start(t).URL(), authsvctest.Patient...)
	s.WaitReady()
	c := startTraffic(t, s.URL, 4, 10*time.Millisecond)
	c.more(100)

	each, start := number/3+1, time.Now()
	idle := openFiles(t, s)
	held := func() int { return openFiles(t, s) - idle }
	ends := []func(){
		slowHTTPTest(t, each, s.URL+"/oauth/token", "-H", "-t", "POST"),
		slowHTTPTest(t, each, s.URL+"/oauth/token", "-B", "-s", "8192", "-x", "10"),
		slowHTTPTest(t, each, s.URL+"/openapi.yaml", "-X", "-n", "5", "-z", "5", "-w", "1", "-y", "512"),
	}
	// What slowhttptest reads slowly fits into the socket's buffer. These clients
	// request more than that.
	deaf := make([]net.Conn, size(2, 10))
	for i := range deaf {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, strings.Repeat("GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n", 150)); err != nil {
			t.Fatal(err)
		}
		deaf[i] = conn
	}
	// The connections of the other traffic come and go, and so do those to Redis.
	redistest.Eventually(t, "the slow clients to be connected", func() bool { return held() > 3*each-10 })
	most, rest := held(), 20+len(deaf)
	c.more(size(200, 1000))

	limits := []struct {
		name  string
		limit time.Duration // in internal/process/server.go
		ended func() bool
	}{
		{"slow heads", 10 * time.Second, func() bool { return held() <= 2*each+rest }},
		{"slow bodies", time.Minute, func() bool { return held() <= each+rest }},
		{"no reading", 90 * time.Second, func() bool {
			for _, conn := range deaf {
				if _, err := io.WriteString(conn, "\r\n"); err == nil {
					return false
				}
			}
			return true
		}},
		// From the view of authsvc, the answer is written and the connection is idle.
		{"slow reading", 2 * time.Minute, func() bool { return held() <= rest }},
	}
	if !*full {
		limits = nil // they take too long
	}
	for _, kind := range limits {
		for !kind.ended() {
			if time.Since(start) > kind.limit+15*time.Second { // connecting takes some time
				c.add("%s: still held after %v: %d connections in all", kind.name, time.Since(start).Round(time.Second), held())
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		figure(t, "slow clients: %s: closed, or given up on, after %v; %d connections left", kind.name, time.Since(start).Round(100*time.Millisecond), held())
	}
	for _, end := range ends {
		end()
	}
	for _, conn := range deaf {
		conn.Close()
	}
	redistest.Eventually(t, "the slow clients to be gone", func() bool { return held() <= rest })
	c.end()
	peak := s.PeakMemory()
	figure(t, "slow clients: up to %d connections; peak of %d MiB; %d other requests, %d failed; p50 %v, p99 %v, slowest %v",
		most, peak>>20, c.count.Load(), len(c.all), c.slowest(.5), c.slowest(.99), c.slowest(1))
	if peak > 200<<20 {
		c.add("with %d slow clients, authsvc needs %d MiB", number, peak>>20)
	}
	return &c.findings
}

// slowHTTPTest starts slowhttptest with this many connections, and returns a function
// that ends it.
func slowHTTPTest(t *testing.T, connections int, url string, args ...string) (end func()) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(redistest.Program(t, "slowhttptest"), append([]string{"-u", url, "-c", strconv.Itoa(connections), "-r", "250", "-i", "5", "-l", "200", "-v", "1"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		end()
		if t.Failed() {
			t.Logf("slowhttptest %q: %s", args, out.Bytes()[max(0, out.Len()-1000):])
		}
	})
	return end
}

// openFiles returns the number of open file descriptors of a process.
func openFiles(t *testing.T, s *authsvctest.Server) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
