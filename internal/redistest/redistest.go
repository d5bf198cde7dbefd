package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// patience is the timeout of every wait in this package. It is long because a wait that
// succeeds does not use it up, a failover that goes wrong is retried, and on a busy
// machine everything takes ten times as long.
const patience = 3 * time.Minute

// Server is a redis-server process of a test, on a free loopback port. It ends with the
// test.
type Server struct {
	t        testing.TB
	args     []string
	dir      string
	addr     string
	tlsAddr  string
	password string
	proxy    *Proxy // whose address its topology gives out instead of its own
	busPort  string // of a cluster node
	ready    func() // called after each start

	admin *redis.Client
	cmd   *exec.Cmd
	ended chan struct{} // closed once cmd.Wait has returned
	dead  atomic.Bool   // the same, for goroutines other than the test's
}

// Start starts a redis-server that keeps nothing on disk, with these additional
// arguments ("--requirepass", "secret"), and waits until it answers.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, passwordIn(args), func(s *Server, port string) []string {
		return append(s.settings(port), args...)
	})
}

// StartTLS is like Start, with a second port that uses TLS and requires a client
// certificate.
func StartTLS(t testing.TB, c *Certs, args ...string) *Server {
	t.Helper()
	return start(t, passwordIn(args), func(s *Server, port string) []string {
		tlsPort := FreePort(t)
		s.tlsAddr = net.JoinHostPort("127.0.0.1", tlsPort)
		return append(append(s.settings(port), "--tls-port", tlsPort,
			"--tls-cert-file", c.ServerCertFile, "--tls-key-file", c.ServerKeyFile, "--tls-ca-cert-file", c.CAFile), args...)
	})
}

func passwordIn(args []string) string {
	if i := slices.Index(args, "--requirepass"); i >= 0 {
		return args[i+1]
	}
	return ""
}

// settings returns the arguments of every server that holds data. Without compression,
// a dump shows every secret in it.
func (s *Server) settings(port string) []string {
	return append(s.place(port), "--save", "", "--appendonly", "no", "--rdbcompression", "no")
}

// place returns the arguments of every server.
func (s *Server) place(port string) []string {
	return []string{"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--logfile", "redis.log"}
}

// inFile writes arguments to a configuration file and returns its path, for a server
// that itself writes to the file what it must know at its next start.
func (s *Server) inFile(args []string) string {
	s.t.Helper()
	var lines strings.Builder
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "--"); ok {
			lines.WriteString("\n" + name)
		} else {
			fmt.Fprintf(&lines, " %q", arg)
		}
	}
	file := filepath.Join(s.dir, "redis.conf")
	if err := os.WriteFile(file, []byte(lines.String()+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// start starts a server on a free port, with the arguments for that port.
func start(t testing.TB, password string, args func(s *Server, port string) []string) *Server {
	t.Helper()
	Program(t, "redis-server")
	s := &Server{t: t, dir: t.TempDir(), password: password, ready: func() {}}
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(s.dir, "redis.log")); err == nil && t.Failed() {
			const most = 16 << 10
			t.Logf("the Redis at %s logged:\n%s", s.addr, log[max(0, len(log)-most):])
		}
		if s.admin != nil {
			_ = s.admin.Close()
		}
		s.Kill()
	})
	// Another process can take the port after it was found to be free.
	for range 5 {
		port := FreePort(t)
		s.addr = net.JoinHostPort("127.0.0.1", port)
		s.args = args(s, port)
		if s.launch() {
			s.admin = redis.NewClient(&redis.Options{
				Addr: s.addr, Password: password, DisableIdentity: true, ContextTimeoutEnabled: true,
				MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			})
			s.ready()
			return s
		}
	}
	log, _ := os.ReadFile(filepath.Join(s.dir, "redis.log"))
	t.Fatalf("redis-server does not start:\n%s", log)
	return nil
}

// launch starts the process and reports whether it answers; if not, it has ended.
func (s *Server) launch() bool {
	s.t.Helper()
	// The process inherits this. Otherwise a write beyond the limit of LimitFiles kills
	// it.
	signal.Ignore(syscall.SIGXFSZ)
	s.cmd = exec.Command("redis-server", s.args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("starting redis-server: %v", err)
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	s.dead.Store(false)
	go func() {
		_ = cmd.Wait()
		s.dead.Store(true)
		close(ended)
	}()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-ended:
			return false
		case <-time.After(2 * time.Millisecond):
		}
		if ping(s.addr) == nil {
			select {
			case <-ended: // another process, which had the port, has answered
				return false
			default:
				return true
			}
		}
	}
	s.Kill()
	return false
}

// ping succeeds once a Redis answers, even if only that it requires a password.
func ping(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	reply, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(reply, "+PONG") && !strings.HasPrefix(reply, "-NOAUTH") {
		return errors.New(strings.TrimSpace(reply))
	}
	return nil
}

// Addr returns the host:port of the plain port.
func (s *Server) Addr() string { return s.addr }

// URL returns the redis:// URL of the plain port, with the password if there is one.
func (s *Server) URL() string { return s.url("redis", s.addr) }

// TLSURL returns the rediss:// URL of a server started by StartTLS.
func (s *Server) TLSURL() string { return s.url("rediss", s.tlsAddr) }

func (s *Server) url(scheme, addr string) string {
	u := url.URL{Scheme: scheme, Host: addr, Path: "/0"}
	if s.password != "" {
		u.User = url.UserPassword("", s.password)
	}
	return u.String()
}

// Pause freezes the process (SIGSTOP): connections stay open, and nothing is answered
// or done. It returns once the process has stopped.
func (s *Server) Pause() {
	s.t.Helper()
	Pause(s.t, s.cmd.Process)
}

// Pause freezes a process (SIGSTOP), and returns once it has stopped. SIGCONT continues
// it.
func Pause(t testing.TB, p *os.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatalf("stopping process %d: %v", p.Pid, err)
	}
	Eventually(t, "a process to stop", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		if err != nil {
			return os.IsNotExist(err) // no /proc here: rely on the signal
		}
		// pid (name) state ...; the name may contain anything, but ends with the last
		// ')'.
		after := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		return strings.HasPrefix(after, " T")
	})
}

// Resume continues a paused process, with what reached it meanwhile.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("redis-server: %v: %v", sig, err)
	}
}

// LimitFiles keeps its files from growing beyond a size in bytes: writes beyond it
// fail, as on a full disk (except that the error is EFBIG). The limit ends with the
// process, or with Unlimited.
func (s *Server) LimitFiles(size int64) {
	s.t.Helper()
	s.limitFiles(strconv.FormatInt(size, 10))
}

// Unlimited lifts the limit of LimitFiles.
func (s *Server) Unlimited() {
	s.t.Helper()
	s.limitFiles("unlimited")
}

func (s *Server) limitFiles(size string) {
	s.t.Helper()
	out, err := exec.Command("prlimit", "--pid", strconv.Itoa(s.cmd.Process.Pid), "--fsize="+size+":").CombinedOutput()
	if err != nil {
		s.t.Fatalf("prlimit: %v\n%s", err, out)
	}
}

// Kill kills the process at once, paused or not. Its data are lost, except for what its
// arguments make it keep on disk (--appendonly yes).
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	select {
	case <-s.ended:
		return
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// Restart starts the process again on the same port and in the same directory, and
// kills it first if it is still running. A server of a topology continues where it
// ended, and learns from the others what happened meanwhile.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	Eventually(s.t, "redis-server to start again on the same port", s.launch)
	s.ready()
}

// Snapshot is what a server held at one time.
type Snapshot []byte

// Snapshot returns what the server holds now.
func (s *Server) Snapshot() Snapshot {
	s.t.Helper()
	s.do("SAVE")
	data, err := os.ReadFile(s.snapshotFile())
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// Rollback restarts the server with what it held at the time of a snapshot, which loses
// everything since. The server must not have an append-only file, since Redis would read
// that instead. In a topology the replicas follow: its others must have more patience
// than a restart takes (TrioOptions.DownAfter, "--cluster-node-timeout").
func (s *Server) Rollback(to Snapshot) {
	s.t.Helper()
	s.Kill()
	if err := os.WriteFile(s.snapshotFile(), to, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.Restart()
}

func (s *Server) snapshotFile() string { return filepath.Join(s.dir, "dump.rdb") }

// Client returns a client for the test itself, which bypasses every proxy. It is closed
// with the server.
func (s *Server) Client() *redis.Client { return s.admin }

// do runs a command, which must succeed.
func (s *Server) do(args ...any) *redis.Cmd {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := s.Client().Do(ctx, args...)
	if err := cmd.Err(); err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return cmd
}

// try is like do, for a server that may be dead or paused: it waits a second. A paused
// server runs the command once it continues.
func (s *Server) try(args ...any) *redis.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.dead.Load() {
		cmd := redis.NewCmd(ctx, args...)
		cmd.SetErr(errors.New("the server is dead"))
		return cmd
	}
	return s.Client().Do(ctx, args...)
}

// tryAll runs try on all servers at once.
func tryAll(servers []*Server, args ...any) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { cmds[i] = s.try(args...) })
	}
	wg.Wait()
	return cmds
}

// known returns the address by which the topology knows the server.
func (s *Server) known() string {
	if s.proxy != nil {
		return s.proxy.Addr()
	}
	return s.addr
}

// Calls returns how often the server has run a command since it started, directly or
// from a script. It counts what was executed, even if the reply was lost.
func (s *Server) Calls(command string) int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	info, err := s.Client().Info(ctx, "commandstats").Result()
	if err != nil {
		s.t.Fatalf("INFO commandstats: %v", err)
	}
	_, rest, ok := strings.Cut(info, "cmdstat_"+strings.ToLower(command)+":calls=")
	if !ok {
		return 0
	}
	digits, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(digits)
	if err != nil {
		s.t.Fatalf("INFO commandstats: %v", err)
	}
	return n
}

// Eventually waits until a condition holds; what names it. The longer it waits, the
// less often it checks.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; time.Sleep(min(2*time.Millisecond+time.Since(start)/50, 50*time.Millisecond)) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited %v for %s", patience, what)
}
