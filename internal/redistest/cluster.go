package redistest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// slotCount is how many slots a cluster has.
const slotCount = 1 << 14

// Cluster is three primaries that share the slots evenly, with a replica each. It
// ends with the test.
type Cluster struct {
	t       testing.TB
	servers []*Server
	ids     map[*Server]string
}

// ClusterOptions are what can be chosen of a Cluster.
type ClusterOptions struct {
	Args []string // of each server: "--appendonly", "yes"

	// Proxied puts each server behind a proxy of its own, of which alone clients and
	// its replica hear. The servers' talk about who is alive does not go through it.
	Proxied bool
}

// StartCluster starts a Cluster whose servers get these arguments in addition, and
// waits until it is whole. A server is lost after 1.5 s of silence, and its slots
// then fail alone.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return StartClusterWith(t, ClusterOptions{Args: args})
}

// StartClusterWith is StartCluster with options.
func StartClusterWith(t testing.TB, o ClusterOptions) *Cluster {
	t.Helper()
	c := &Cluster{t: t, ids: map[*Server]string{}}
	for range 6 {
		s := startNode(t, o)
		c.servers = append(c.servers, s)
		id, err := s.do("CLUSTER", "MYID").Text()
		if err != nil {
			t.Fatal(err)
		}
		c.ids[s] = id
	}
	for i, s := range c.servers[:3] {
		s.do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		s.do("CLUSTER", "ADDSLOTSRANGE", i*slotCount/3, (i+1)*slotCount/3-1)
	}
	// Each pair meets, because word of others travels slowly.
	for i, s := range c.servers {
		for _, other := range c.servers[:i] {
			host, port, _ := net.SplitHostPort(other.known())
			s.do("CLUSTER", "MEET", host, port, other.busPort)
		}
	}
	for i, s := range c.servers[3:] {
		Eventually(t, "a replica to know its primary", func() bool {
			return s.ask("CLUSTER", "REPLICATE", c.ids[c.servers[i]]).Err() == nil
		})
	}
	c.WaitWhole()
	return c
}

func startNode(t testing.TB, o ClusterOptions) *Server {
	t.Helper()
	password := passwordIn(o.Args)
	return start(t, password, func(s *Server, port string) []string {
		s.busPort = FreePort(t)
		args := append(s.settings(port), "--repl-diskless-sync-delay", "0", "--masterauth", password,
			"--cluster-enabled", "yes", "--cluster-port", s.busPort, "--cluster-node-timeout", "1500",
			"--cluster-require-full-coverage", "no")
		if o.Proxied {
			s.proxy = NewProxy(t, s.addr)
			_, port, _ := net.SplitHostPort(s.proxy.Addr())
			args = append(args, "--cluster-announce-port", port)
		}
		return append(args, o.Args...)
	})
}

// URL is redis+cluster:// with the first primaries, and the password if there is
// one.
func (c *Cluster) URL() string {
	return manyURL("redis+cluster", c.servers[0].password, "", c.servers[:3])
}

// Servers are the six, the first primaries first; the replica of each comes three
// later.
func (c *Cluster) Servers() []*Server { return slices.Clone(c.servers) }

// ProxyOf is the proxy of a server, nil unless they are Proxied.
func (c *Cluster) ProxyOf(s *Server) *Proxy { return s.proxy }

// Primaries are those that have the slots now, in the order of their first slots.
// It waits for a primary that answers for every slot.
func (c *Cluster) Primaries() []*Server {
	c.t.Helper()
	var primaries []*Server
	Eventually(c.t, "a primary for every slot", func() bool {
		primaries = nil
		for _, owner := range owners(c.servers) {
			if owner == nil {
				return false
			}
			if !slices.Contains(primaries, owner) {
				primaries = append(primaries, owner)
			}
		}
		return true
	})
	return primaries
}

// PrimaryOf is the primary that has the slot of a key now. It waits for one that
// answers.
func (c *Cluster) PrimaryOf(key string) *Server {
	c.t.Helper()
	return c.primaryOf(Slot(key))
}

func (c *Cluster) primaryOf(slot int) *Server {
	c.t.Helper()
	var owner *Server
	Eventually(c.t, "a primary for the slot", func() bool {
		owner = owners(c.servers)[slot]
		return owner != nil
	})
	return owner
}

// ReplicaOf is the server that replicates from another now. It waits for one that
// answers.
func (c *Cluster) ReplicaOf(primary *Server) *Server {
	c.t.Helper()
	var replica *Server
	Eventually(c.t, "a replica", func() bool {
		for s, n := range claims(c.servers) {
			if n.primary == c.ids[primary] {
				replica = s
			}
		}
		return replica != nil
	})
	return replica
}

// WaitPromoted waits until another server than the lost one answers for a key.
func (c *Cluster) WaitPromoted(lost *Server, key string) *Server {
	c.t.Helper()
	others := slices.DeleteFunc(c.Servers(), func(s *Server) bool { return s == lost })
	var owner *Server
	Eventually(c.t, "a replica to be promoted", func() bool {
		owner = owners(others)[Slot(key)]
		return owner != nil && owner.ask("EXISTS", key).Err() == nil
	})
	return owner
}

// WaitWhole waits until all is as at the start, whoever is a primary now: every
// server is well and sees the same, and who has no slots replicates from one that
// has.
func (c *Cluster) WaitWhole() {
	c.t.Helper()
	Eventually(c.t, "six servers that are well and agree", func() bool {
		var first string
		for i, reply := range askAll(c.servers, "CLUSTER", "NODES") {
			view, well := view(nodes(reply))
			if i == 0 {
				first = view
			}
			if !well || view != first {
				return false
			}
		}
		for _, reply := range askAll(c.servers, "CLUSTER", "INFO") {
			info, _ := reply.Text()
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") {
				return false
			}
		}
		online := 0
		for _, reply := range askAll(c.servers, "INFO", "replication") {
			info, _ := reply.Text()
			if !replicates(info) {
				return false
			}
			online += strings.Count(info, "state=online")
		}
		return online == 3
	})
}

// view is who has which slots and who replicates from whom, in an order that all
// share, and whether all six are well.
func view(all []node) (view string, well bool) {
	slices.SortFunc(all, func(a, b node) int { return strings.Compare(a.id, b.id) })
	well = len(all) == 6
	for _, n := range all {
		well = well && n.linked && (n.flags == "master" && len(n.slots) > 0 || n.flags == "slave")
		view += fmt.Sprintln(n.id, n.primary, n.slots)
	}
	return view, well
}

// node is a line of CLUSTER NODES.
type node struct {
	id      string
	myself  bool
	flags   string // the others
	primary string // the id of whom it replicates from, "-" for nobody
	epoch   int    // of the election by which it, or its primary, has its slots
	linked  bool
	slots   [][2]int // the first and the last of each range
}

// nodes reads the reply to CLUSTER NODES of a server that may not have answered.
func nodes(reply *redis.Cmd) []node {
	text, _ := reply.Text()
	var all []node
	for line := range strings.Lines(text) {
		// id address flags primary ping pong epoch link range...
		f := strings.Fields(line)
		n := node{id: f[0], primary: f[3], linked: f[7] == "connected"}
		n.flags, n.myself = strings.CutPrefix(f[2], "myself,")
		n.epoch, _ = strconv.Atoi(f[6])
		for _, r := range f[8:] {
			if r[0] == '[' {
				continue // on its way
			}
			first, last, isRange := strings.Cut(r, "-")
			if !isRange {
				last = first
			}
			from, _ := strconv.Atoi(first)
			to, _ := strconv.Atoi(last)
			n.slots = append(n.slots, [2]int{from, to})
		}
		all = append(all, n)
	}
	return all
}

// claims are what the servers that answer say of themselves.
func claims(servers []*Server) map[*Server]node {
	all := map[*Server]node{}
	for i, reply := range askAll(servers, "CLUSTER", "NODES") {
		for _, n := range nodes(reply) {
			if n.myself {
				all[servers[i]] = n
			}
		}
	}
	return all
}

// owners tells who has each slot; nil: none of these. Of two that claim a slot the
// one with the later epoch is right, and the other has yet to hear of it.
func owners(servers []*Server) []*Server {
	all, epochs := make([]*Server, slotCount), make([]int, slotCount)
	for s, n := range claims(servers) {
		for _, r := range n.slots {
			for slot := r[0]; slot <= r[1]; slot++ {
				if all[slot] == nil || n.epoch > epochs[slot] {
					all[slot], epochs[slot] = s, n.epoch
				}
			}
		}
	}
	return all
}

// Dump reads every key of the primaries.
func (c *Cluster) Dump() []Record {
	c.t.Helper()
	var all []Record
	for _, s := range c.Primaries() {
		all = append(all, s.Dump()...)
	}
	return all
}

// Slot is the slot of a key: of what its first braces hold, if they hold anything.
func Slot(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16 // CRC-16/XMODEM
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			crc = crc<<1 ^ crc>>15*0x1021
		}
	}
	return int(crc) % slotCount
}

// Migration takes a slot from one primary to another in steps, so that a test can
// act between them.
type Migration struct {
	c        *Cluster
	slot     int
	from, to *Server
}

// Migrate is about to take a slot from who has it now to another primary. Nothing
// is done before Begin.
func (c *Cluster) Migrate(slot int, to *Server) *Migration {
	c.t.Helper()
	return &Migration{c: c, slot: slot, from: c.primaryOf(slot), to: to}
}

// Begin tells the two. From now on the source sends clients to the target (ASK)
// for keys that it does not have.
func (m *Migration) Begin() {
	m.c.t.Helper()
	m.to.do("CLUSTER", "SETSLOT", m.slot, "IMPORTING", m.c.ids[m.from])
	m.from.do("CLUSTER", "SETSLOT", m.slot, "MIGRATING", m.c.ids[m.to])
}

// Move moves up to n keys, and tells how many it moved.
func (m *Migration) Move(n int) int {
	m.c.t.Helper()
	keys, err := m.from.do("CLUSTER", "GETKEYSINSLOT", m.slot, n).Slice()
	if err != nil {
		m.c.t.Fatalf("CLUSTER GETKEYSINSLOT: %v", err)
	}
	if len(keys) == 0 {
		return 0
	}
	host, port, _ := net.SplitHostPort(m.to.addr)
	args := []any{"MIGRATE", host, port, "", 0, patience.Milliseconds()}
	if m.to.password != "" {
		args = append(args, "AUTH", m.to.password)
	}
	m.from.do(append(append(args, "KEYS"), keys...)...)
	return len(keys)
}

// Finish gives the slot to the target. The target hears of it first, then the
// source, which must have no key of the slot left, and then the other primaries;
// replicas learn it from them, a moment later.
func (m *Migration) Finish() {
	m.c.t.Helper()
	told := []*Server{m.to, m.from}
	for _, s := range m.c.Primaries() {
		if !slices.Contains(told, s) {
			told = append(told, s)
		}
	}
	for _, s := range told {
		s.do("CLUSTER", "SETSLOT", m.slot, "NODE", m.c.ids[m.to])
	}
}
