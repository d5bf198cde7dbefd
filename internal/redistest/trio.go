package redistest

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// trioName is the name that the Sentinels of a Trio give what they monitor.
const trioName = "mymaster"

// Trio is a primary with two replicas, and three Sentinels, of which two can name a new
// primary. It ends with the test.
type Trio struct {
	t                  testing.TB
	servers, sentinels []*Server
}

// TrioOptions are the options of a Trio. Passwords must not contain blanks or quotes: a
// Sentinel writes them to its file unquoted, and could not read them.
type TrioOptions struct {
	Args             []string      // arguments of each server, such as "--appendonly", "yes"
	SentinelPassword string        // of each Sentinel; empty: none
	DownAfter        time.Duration // after this silence a Sentinel takes a server for dead; 0: a second

	// Proxied puts each server behind its own proxy, and clients, replicas and
	// Sentinels know only the proxies. So a primary can be cut off from all of them; so
	// can a replica, except for its link to the primary, which goes through the
	// primary's proxy.
	Proxied bool

	// Divided is like Proxied, for the Sentinels as well, with the first server and the
	// first Sentinel on one side of a network that Partition cuts, where the clients are,
	// and the others on the other.
	Divided bool
	// Unhurried leaves the Sentinels their usual periods: it takes them up to ten
	// seconds to learn of each other and to turn an old primary into a replica.
	Unhurried bool
}

// otherSide is the address from which those on the other side of a divided Trio connect.
const otherSide = "127.0.0.2"

// bound returns the arguments of a server that is the nth of its kind.
func (o TrioOptions) bound(n int) []string {
	if !o.Divided || n == 0 {
		return nil
	}
	return []string{"--bind-source-addr", otherSide}
}

// Partition cuts a divided Trio in two, or ends that. The test itself reaches everything.
func (tr *Trio) Partition(on bool) {
	for _, all := range [][]*Server{tr.servers, tr.sentinels} {
		for n, s := range all {
			switch {
			case !on:
				s.proxy.Lose("")
			case n == 0:
				s.proxy.Lose(otherSide)
			default:
				s.proxy.Lose("127.0.0.1")
			}
		}
	}
}

// StartTrio starts a Trio whose servers get these additional arguments, and waits until
// it is whole.
func StartTrio(t testing.TB, args ...string) *Trio {
	t.Helper()
	return StartTrioWith(t, TrioOptions{Args: args})
}

// StartTrioWith is like StartTrio, with options.
func StartTrioWith(t testing.TB, o TrioOptions) *Trio {
	t.Helper()
	tr := &Trio{t: t}
	o.Proxied = o.Proxied || o.Divided
	args := o.Args
	for n := range 3 {
		o.Args = append(slices.Clone(args), o.bound(n)...)
		tr.servers = append(tr.servers, startReplicable(t, o))
	}
	host, port, _ := net.SplitHostPort(tr.servers[0].known())
	for _, replica := range tr.servers[1:] {
		replica.do("REPLICAOF", host, port)
		replica.do("CONFIG", "REWRITE") // a Sentinel that sends REPLICAOF sends this, too
	}
	for n := range 3 {
		o.Args = o.bound(n)
		tr.sentinels = append(tr.sentinels, startSentinel(t, o, tr.servers[0]))
	}
	tr.WaitWhole()
	return tr
}

// startReplicable starts a server that can become a replica. Its settings are in a
// file, in which it records whether it is one.
func startReplicable(t testing.TB, o TrioOptions) *Server {
	t.Helper()
	password := passwordIn(o.Args)
	return start(t, password, func(s *Server, port string) []string {
		args := append(s.settings(port), "--repl-diskless-sync-delay", "0", "--masterauth", password)
		if o.Proxied {
			s.proxy = NewProxy(t, s.addr)
			host, port, _ := net.SplitHostPort(s.proxy.Addr())
			args = append(args, "--replica-announce-ip", host, "--replica-announce-port", port)
		}
		return []string{s.inFile(append(args, o.Args...))}
	})
}

func startSentinel(t testing.TB, o TrioOptions, primary *Server) *Server {
	t.Helper()
	if o.DownAfter == 0 {
		o.DownAfter = time.Second
	}
	host, primaryPort, _ := net.SplitHostPort(primary.known())
	return start(t, o.SentinelPassword, func(s *Server, port string) []string {
		args := append(append(s.place(port), o.Args...), "--sentinel", "monitor", trioName, host, primaryPort, "2")
		if o.Divided {
			s.proxy = NewProxy(t, s.addr)
			host, port, _ := net.SplitHostPort(s.proxy.Addr())
			args = append(args, "--sentinel", "announce-ip", host, "--sentinel", "announce-port", port)
		}
		set := func(what, value string) { args = append(args, "--sentinel", what, trioName, value) }
		set("down-after-milliseconds", strconv.FormatInt(o.DownAfter.Milliseconds(), 10))
		set("failover-timeout", "5000")
		set("parallel-syncs", "1")
		if primary.password != "" {
			set("auth-pass", primary.password)
		}
		if o.SentinelPassword != "" {
			args = append(args, "--requirepass", o.SentinelPassword, "--sentinel", "sentinel-pass", o.SentinelPassword)
		}
		// These otherwise take from two to thirty seconds: to discover each other, to
		// turn an old primary into a replica, and to trust the clock after a pause.
		s.ready = func() {
			if o.Unhurried {
				return
			}
			s.do("SENTINEL", "DEBUG", "PUBLISH-PERIOD", 500, "INFO-PERIOD", 1000, "TILT-PERIOD", 1000)
		}
		return []string{s.inFile(args), "--sentinel"}
	})
}

// URL returns the redis+sentinel:// URL with the three Sentinels, the name that they
// know and database 0, and the password of the servers if there is one.
func (tr *Trio) URL() string {
	return manyURL("redis+sentinel", tr.servers[0].password, "/"+trioName+"/0", tr.sentinels)
}

func manyURL(scheme, password, path string, servers []*Server) string {
	hosts := make([]string, len(servers))
	for i, s := range servers {
		hosts[i] = s.known()
	}
	u := url.URL{Scheme: scheme, Host: strings.Join(hosts, ","), Path: path}
	if password != "" {
		u.User = url.UserPassword("", password)
	}
	return u.String()
}

// Servers returns the three servers, the first primary first.
func (tr *Trio) Servers() []*Server { return slices.Clone(tr.servers) }

// Sentinels returns the three Sentinels. They can be paused, killed and restarted like
// the servers.
func (tr *Trio) Sentinels() []*Server { return slices.Clone(tr.sentinels) }

// ProxyOf returns the proxy of a server, nil unless the Trio is Proxied.
func (tr *Trio) ProxyOf(s *Server) *Proxy { return s.proxy }

// Primary returns the server that a majority of the Sentinels name now, dead or alive.
// It waits for a majority.
func (tr *Trio) Primary() *Server {
	tr.t.Helper()
	var named *Server
	Eventually(tr.t, "two Sentinels to name one primary", func() bool {
		named = tr.named()
		return named != nil
	})
	return named
}

// named is like Primary, but returns nil while there is no majority.
func (tr *Trio) named() *Server {
	votes := map[string]int{}
	for _, reply := range tryAll(tr.sentinels, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", trioName) {
		if addr, err := reply.StringSlice(); err == nil && len(addr) == 2 {
			votes[net.JoinHostPort(addr[0], addr[1])]++
		}
	}
	for _, s := range tr.servers {
		if votes[s.known()] > len(tr.sentinels)/2 {
			return s
		}
	}
	return nil
}

// WaitPrimaryNot waits until a majority of the Sentinels name another primary than old,
// and until that server itself says that it is a primary. It returns that server.
func (tr *Trio) WaitPrimaryNot(old *Server) *Server {
	tr.t.Helper()
	var named *Server
	Eventually(tr.t, "another primary", func() bool {
		named = tr.named()
		return named != nil && named != old && strings.Contains(named.replication(), "role:master")
	})
	return named
}

func (s *Server) replication() string {
	info, _ := s.try("INFO", "replication").Text()
	return info
}

// replicates reports whether a server, by its INFO replication, is a primary or has a
// link to its primary.
func replicates(info string) bool {
	return strings.Contains(info, "role:master") || strings.Contains(info, "master_link_status:up")
}

// Failover has a Sentinel make another server the primary, waits for it, and returns
// it. The old primary, if it is alive, takes itself for a primary for some seconds
// longer.
func (tr *Trio) Failover() *Server {
	tr.t.Helper()
	old := tr.Primary()
	Eventually(tr.t, "a Sentinel to begin a failover", func() bool {
		for _, s := range tr.sentinels {
			// A paused Sentinel would begin it later.
			if s.try("PING").Err() == nil {
				return s.try("SENTINEL", "FAILOVER", trioName).Err() == nil
			}
		}
		return false
	})
	return tr.WaitPrimaryNot(old)
}

// WaitWhole waits until everything is as at the start, whichever server is the primary:
// the others replicate from it, and every Sentinel knows and reaches them all.
func (tr *Trio) WaitWhole() {
	tr.t.Helper()
	Eventually(tr.t, "two replicas, and three Sentinels that agree", func() bool {
		primary := tr.named()
		if primary == nil || strings.Count(primary.replication(), "state=online") != 2 {
			return false
		}
		for _, reply := range tryAll(tr.servers, "INFO", "replication") {
			if info, _ := reply.Text(); !replicates(info) {
				return false
			}
		}
		want := fmt.Sprintf("name=%s,status=ok,address=%s,slaves=2,sentinels=3", trioName, primary.known())
		for _, reply := range tryAll(tr.sentinels, "INFO", "sentinel") {
			if info, _ := reply.Text(); !strings.Contains(info, want) {
				return false
			}
		}
		return true
	})
}
