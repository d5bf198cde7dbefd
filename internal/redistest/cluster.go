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

// slotCount is the number of slots of a cluster.
const slotCount = 1 << 14

// Cluster is a cluster of three primaries that share the slots evenly, with one replica
// each. It ends with the test.
type Cluster struct {
	t       testing.TB
	servers []*Server
	ids     map[*Server]string
}

// ClusterOptions are the options of a Cluster.
type ClusterOptions struct {
	Args []string // arguments of each server, such as "--appendonly", "yes"

	// Proxied puts each server behind its own proxy. Clients and its replica know only
	// the proxy. The cluster bus does not go through it.
	Proxied bool
}

// StartCluster starts a Cluster whose servers get these additional arguments, and waits
// until it is whole. A server counts as lost after 1.5 s of silence; then only its own
// slots fail.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return StartClusterWith(t, ClusterOptions{Args: args})
}

// StartClusterWith is like StartCluster, with options.
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
	// Each pair meets, because gossip is slow.
	for i, s := range c.servers {
		for _, other := range c.servers[:i] {
			host, port, _ := net.SplitHostPort(other.known())
			s.do("CLUSTER", "MEET", host, port, other.busPort)
		}
	}
	for i, s := range c.servers[3:] {
		Eventually(t, "a replica to know its primary", func() bool {
			return s.try("CLUSTER", "REPLICATE", c.ids[c.servers[i]]).Err() == nil
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

// URL returns the redis+cluster:// URL with the first primaries, and the password if
// there is one.
func (c *Cluster) URL() string {
	return manyURL("redis+cluster", c.servers[0].password, "", c.servers[:3])
}

// Servers returns the six servers, the first primaries first; the replica of each comes
// three later.
func (c *Cluster) Servers() []*Server { return slices.Clone(c.servers) }

// ProxyOf returns the proxy of a server, nil unless the Cluster is Proxied.
func (c *Cluster) ProxyOf(s *Server) *Proxy { return s.proxy }

// Primaries returns the servers that own the slots now, in the order of their first
// slots. It waits until a primary answers for every slot.
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

// PrimaryOf returns the primary that owns the slot of a key now. It waits until one
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

// ReplicaOf returns the server that replicates from primary now. It waits until one
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

// WaitPromoted waits until another server than the lost one answers for a key, and
// returns it.
func (c *Cluster) WaitPromoted(lost *Server, key string) *Server {
	c.t.Helper()
	others := slices.DeleteFunc(c.Servers(), func(s *Server) bool { return s == lost })
	var owner *Server
	Eventually(c.t, "a replica to be promoted", func() bool {
		owner = owners(others)[Slot(key)]
		return owner != nil && owner.try("EXISTS", key).Err() == nil
	})
	return owner
}

// WaitWhole waits until the cluster is as at the start, whichever servers are primaries
// now: all servers are healthy and have the same view, and each server without slots
// replicates from one with slots.
func (c *Cluster) WaitWhole() {
	c.t.Helper()
	Eventually(c.t, "six servers that are well and agree", func() bool {
		var first string
		for i, reply := range tryAll(c.servers, "CLUSTER", "NODES") {
			view, well := view(nodes(reply))
			if i == 0 {
				first = view
			}
			if !well || view != first {
				return false
			}
		}
		for _, reply := range tryAll(c.servers, "CLUSTER", "INFO") {
			info, _ := reply.Text()
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") {
				return false
			}
		}
		online := 0
		for _, reply := range tryAll(c.servers, "INFO", "replication") {
			info, _ := reply.Text()
			if !replicates(info) {
				return false
			}
			online += strings.Count(info, "state=online")
		}
		return online == 3
	})
}

// view returns which server owns which slots and which replicates from which, in an
// order that all share, and reports whether all six are healthy.
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
	flags   string // the other flags
	primary string // the id of its primary, "-" if it has none
	epoch   int    // of the election that gave it, or its primary, its slots
	linked  bool
	slots   [][2]int // the first and the last slot of each range
}

// nodes parses a reply to CLUSTER NODES, which may be an error.
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
				continue // being migrated
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

// claims returns what each server that answers says about itself.
func claims(servers []*Server) map[*Server]node {
	all := map[*Server]node{}
	for i, reply := range tryAll(servers, "CLUSTER", "NODES") {
		for _, n := range nodes(reply) {
			if n.myself {
				all[servers[i]] = n
			}
		}
	}
	return all
}

// owners returns the owner of each slot, nil if it is none of these servers. If two
// claim a slot, the one with the later epoch is right, and the other does not know yet.
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

// Dump returns every key of the primaries.
func (c *Cluster) Dump() []Record {
	c.t.Helper()
	var all []Record
	for _, s := range c.Primaries() {
		all = append(all, s.Dump()...)
	}
	return all
}

// Slot returns the slot of a key: of the text in its first braces, if there is any.
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

// Migration moves a slot from one primary to another in steps, so that a test can act
// between them.
type Migration struct {
	c        *Cluster
	slot     int
	from, to *Server
}

// Migrate prepares to move a slot from its current owner to another primary. Nothing
// happens before Begin.
func (c *Cluster) Migrate(slot int, to *Server) *Migration {
	c.t.Helper()
	return &Migration{c: c, slot: slot, from: c.primaryOf(slot), to: to}
}

// Begin informs the two primaries. From now on, the source redirects clients to the
// target (ASK) for keys that it does not have.
func (m *Migration) Begin() {
	m.c.t.Helper()
	m.to.do("CLUSTER", "SETSLOT", m.slot, "IMPORTING", m.c.ids[m.from])
	m.from.do("CLUSTER", "SETSLOT", m.slot, "MIGRATING", m.c.ids[m.to])
}

// Move moves up to n keys, and returns how many it moved.
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

// Finish assigns the slot to the target. It informs the target first, then the source,
// which must have no key of the slot left, and then the other primaries; replicas learn
// it from them, a moment later.
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
