package redistest

import (
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"testing"
)

var taken sync.Map // keys: ports given out; values unused

// FreePort returns a port on which nothing listens, and which this process has not
// given out before. It is below those that the system assigns to outgoing connections:
// while a server is down, such a connection could take its port, even that of a client
// that tries to reach the server. Another process can still take the port first.
func FreePort(t testing.TB) string {
	t.Helper()
	const lowest, highest = 10_000, 32_000
	for range 1000 {
		port := strconv.Itoa(lowest + rand.N(highest-lowest))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		if _, again := taken.LoadOrStore(port, nil); !again {
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// FreeAddr returns the host:port of a FreePort on loopback.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", FreePort(t))
}

// Program returns the path of a program: the first of paths that exists. It fails the
// test rather than skipping it: a test that is silently skipped proves nothing.
func Program(t testing.TB, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
	}
	t.Fatalf("%s is not installed; 'make deps' installs it", paths[0])
	return ""
}
