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

// trioName is what the Sentinels of a Trio call what they watch.
const trioName = "mymaster"

// Trio is a primary with two replicas, and three Sentinels of which two can name
// another primary. It ends with the test.
type Trio struct {
	t                  testing.TB
	servers, sentinels []*Server
}

// TrioOptions are what can be chosen of a Trio. Passwords are without blanks and
// quotes: a Sentinel writes them into its file as they are, and could not read them.
type TrioOptions struct {
	Args             []string      // of each server: "--appendonly", "yes"
	SentinelPassword string        // of each Sentinel; empty: none
	DownAfter        time.Duration // of silence, then a Sentinel takes a server for dead; 0: a second

	// Proxied puts each server behind a proxy of its own, and clients, replicas and
	// Sentinels hear of the proxies alone. So a primary can be cut off from all of
	// them; a replica can, but for its link to the primary, which the proxy of the
	// primary has.
	Proxied bool
}

// StartTrio starts a Trio whose servers get these arguments in addition, and
// waits until it is whole.
func StartTrio(t testing.TB, args ...string) *Trio {
	t.Helper()
	return StartTrioWith(t, TrioOptions{Args: args})
}

// StartTrioWith is StartTrio with options.
func StartTrioWith(t testing.TB, o TrioOptions) *Trio {
	t.Helper()
	tr := &Trio{t: t}
	for range 3 {
		tr.servers = append(tr.servers, startReplicable(t, o))
	}
	host, port, _ := net.SplitHostPort(tr.servers[0].known())
	for _, replica := range tr.servers[1:] {
		replica.do("REPLICAOF", host, port)
		replica.do("CONFIG", "REWRITE") // a Sentinel that says REPLICAOF says this, too
	}
	for range 3 {
		tr.sentinels = append(tr.sentinels, startSentinel(t, o, tr.servers[0]))
	}
	tr.WaitWhole()
	return tr
}

// startReplicable starts a server that can become a replica. Its settings are in a
// file, where it writes down which of the two it is.
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
		args := append(s.place(port), "--sentinel", "monitor", trioName, host, primaryPort, "2")
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
		// What else lasts from two to thirty seconds: to hear of each other, to turn
		// a primary of old into a replica, and to trust its clock after a pause.
		s.ready = func() {
			s.do("SENTINEL", "DEBUG", "PUBLISH-PERIOD", 500, "INFO-PERIOD", 1000, "TILT-PERIOD", 1000)
		}
		return []string{s.inFile(args), "--sentinel"}
	})
}

// URL is redis+sentinel:// with the three Sentinels, the name that they know and
// database 0, and the password of the servers if there is one.
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

// Servers are the three, the first primary first.
func (tr *Trio) Servers() []*Server { return slices.Clone(tr.servers) }

// Sentinels are servers as well: they can be paused, killed and restarted.
func (tr *Trio) Sentinels() []*Server { return slices.Clone(tr.sentinels) }

// ProxyOf is the proxy of a server, nil unless they are Proxied.
func (tr *Trio) ProxyOf(s *Server) *Proxy { return s.proxy }

// Primary is whom a majority of the Sentinels name now, dead or alive. It waits
// for a majority.
func (tr *Trio) Primary() *Server {
	tr.t.Helper()
	var named *Server
	Eventually(tr.t, "two Sentinels to name one primary", func() bool {
		named = tr.named()
		return named != nil
	})
	return named
}

// named is nil while no majority names the same.
func (tr *Trio) named() *Server {
	votes := map[string]int{}
	for _, reply := range askAll(tr.sentinels, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", trioName) {
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

// WaitPrimaryNot waits until a majority of the Sentinels name another primary than
// that, and it says itself that it is one.
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
	info, _ := s.ask("INFO", "replication").Text()
	return info
}

// replicates tells from INFO replication that a server is a primary, or has a link
// to its own.
func replicates(info string) bool {
	return strings.Contains(info, "role:master") || strings.Contains(info, "master_link_status:up")
}

// Failover has a Sentinel make another server the primary, and waits for it. The
// old one, if it is alive, takes itself for a primary some seconds longer.
func (tr *Trio) Failover() *Server {
	tr.t.Helper()
	old := tr.Primary()
	Eventually(tr.t, "a Sentinel to begin a failover", func() bool {
		for _, s := range tr.sentinels {
			// A paused one would begin it later.
			if s.ask("PING").Err() == nil {
				return s.ask("SENTINEL", "FAILOVER", trioName).Err() == nil
			}
		}
		return false
	})
	return tr.WaitPrimaryNot(old)
}

// WaitWhole waits until all is as at the start, whoever is the primary: the others
// replicate from it, and every Sentinel knows and sees them all.
func (tr *Trio) WaitWhole() {
	tr.t.Helper()
	Eventually(tr.t, "two replicas, and three Sentinels that agree", func() bool {
		primary := tr.named()
		if primary == nil || strings.Count(primary.replication(), "state=online") != 2 {
			return false
		}
		for _, reply := range askAll(tr.servers, "INFO", "replication") {
			if info, _ := reply.Text(); !replicates(info) {
				return false
			}
		}
		want := fmt.Sprintf("name=%s,status=ok,address=%s,slaves=2,sentinels=3", trioName, primary.known())
		for _, reply := range askAll(tr.sentinels, "INFO", "sentinel") {
			if info, _ := reply.Text(); !strings.Contains(info, want) {
				return false
			}
		}
		return true
	})
}
