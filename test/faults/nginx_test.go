package faults

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// nginxMemory is the memory limit of nginx in docker-compose.yml.
const nginxMemory = 512 << 20

// More strangers than the nginx of docker-compose.yml has connections leave heads half
// sent. Its processes stay within the memory of their container, none of them ends, and
// callers are served again once the heads have timed out. What is within the limits of
// authsvc reaches it.
func TestNginxHeads(t *testing.T) {
	sideBySide(t)
	nginxHeads(t, func(conf string) string { return conf }).none(t)
	control(t, "as many connections and buffers as before", func(t *testing.T) {
		nginxHeads(t, strings.NewReplacer("worker_connections 768", "worker_connections 4096", "buffers 4 64k", "buffers 8 64k").Replace).some(t, "memory")
	})
}

func nginxHeads(t *testing.T, change func(string) string) *findings {
	f := &findings{}
	s := authsvctest.NewSite(t).StartBinary(authsvctest.BuildPlain(t), "memory://", "--trusted-proxies", "127.0.0.1")
	s.WaitReady()
	addr, workers := stackNginx(t, strings.TrimPrefix(s.URL, "http://"), change)

	send := func(head string) (status int, body string) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		req, err := http.NewRequest(http.MethodGet, "http://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(conn, head+"Host: x\r\nConnection: close\r\n\r\n") }()
		text, _ := io.ReadAll(conn)
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), req)
		if err != nil {
			return 0, string(text)
		}
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	header := func(n int) string { return "X-Pad: " + strings.Repeat("x", n) + "\r\n" }
	const line = "GET /nowhere HTTP/1.1\r\n"
	long := "GET /" + strings.Repeat("x", 32<<10-10) + " HTTP/1.1\r\n"
	for _, tt := range []struct {
		name, head, message string
		status              int
	}{
		{"URI of 32 KiB", long, "The API does not exist or has not been published in the environment.", 404},
		{"header of 32 KiB", line + header(32<<10-20), "The API does not exist or has not been published in the environment.", 404},
		{"headers of 125 KiB", line + strings.Repeat(header(31<<10), 4), "The API does not exist or has not been published in the environment.", 404},
		{"more, smaller headers", line + strings.Repeat(header(21900), 5), "The API does not exist or has not been published in the environment.", 404},
		{"a long URI and 125 KiB of headers", long + strings.Repeat(header(25<<10), 5), "The API does not exist or has not been published in the environment.", 404},
		{"header of 40 KiB", line + header(40<<10), "Request headers too large.", 494},
		{"headers of 140 KiB", line + strings.Repeat(header(28<<10), 5), "Request headers too large.", 494},
		{"headers of 400 KiB", line + strings.Repeat(header(31<<10), 13), "Request headers too large.", 494},
		{"header of 200 KiB", line + header(200<<10), "Request headers too large.", 494},
	} {
		if status, body := send(tt.head); status != tt.status || !strings.Contains(body, tt.message) {
			f.add("%s: %d %s", tt.name, status, body)
		}
	}

	var held []net.Conn
	for range size(150, 4000) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			break // the backlog is full
		}
		held = append(held, conn)
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = io.WriteString(conn, line+strings.Repeat(header(31<<10), 7)+header(20 << 10)[:20<<10])
	}
	peak := 0
	for _, pid := range workers() {
		peak += peakMemory(t, pid)
	}
	if peak > nginxMemory {
		f.add("memory: nginx needs %d MiB", peak>>20)
	}
	figure(t, "nginx: %d heads half sent: peak of %d MiB in all", len(held), peak>>20)
	for _, conn := range held {
		_ = conn.Close()
	}
	redistest.Eventually(t, "a caller to be served by nginx", func() bool {
		status, _ := send(line)
		return status == 404
	})
	return f
}

// stackNginx runs the nginx of docker-compose.yml in front of an address. It returns its
// own address, and a function that returns the ids of its processes.
func stackNginx(t *testing.T, upstream string, change func(string) string) (addr string, processes func() []string) {
	t.Helper()
	dir := t.TempDir()
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join("../../deploy", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	addr = free()
	conf := strings.NewReplacer(
		"/tmp/", dir+"/", "/dev/stderr", dir+"/errors", "/dev/stdout", dir+"/access", "listen 8080", "listen "+addr, "listen 127.0.0.1:8082", "listen "+free(),
		"http://demo:8080", "http://127.0.0.1:9", "/etc/authsvc-gateways/", dir+"/",
		"include replicas.conf", "server "+upstream,
	).Replace(change(read("nginx/nginx.conf")))
	for name, text := range map[string]string{"nginx.conf": conf, "nginx-authsvc.conf": read("gateways/nginx-authsvc.conf")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(redistest.Program(t, "nginx"), "-p", dir, "-c", dir+"/nginx.conf")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if text, err := os.ReadFile(dir + "/errors"); err == nil && t.Failed() {
			t.Logf("nginx: %s", text)
		}
	})
	processes = func() []string {
		master := strconv.Itoa(cmd.Process.Pid)
		children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", master, master))
		if err != nil {
			t.Fatal(err)
		}
		return append(strings.Fields(string(children)), master)
	}
	redistest.Eventually(t, "nginx to listen", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
	return addr, processes
}

// peakMemory returns the peak resident memory of a process, in bytes.
func peakMemory(t *testing.T, pid string) int {
	t.Helper()
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	return kib << 10
}
