package redisconn

import (
	"cmp"
	"context"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// askEvery is how often all Sentinels are asked for the primary.
	askEvery = 500 * time.Millisecond
	// epochKept is for how long a lower epoch is not believed.
	epochKept = 30 * time.Second
)

// sentinels asks all Sentinels for the primary, again and again, and leaves one that has
// been replaced. go-redis asks a single one when it connects, and otherwise waits for that
// one to announce a failover. If the network was cut meanwhile, it misses that, or the
// Sentinel does not know yet: it stays with the old primary until a Sentinel closes its
// connections, ten seconds after the network is back, and all that the old one
// acknowledges until then is lost.
//
// A failover makes a configuration with a higher epoch, and the Sentinels themselves go by
// the highest that they hear of. So of different primaries the one with the highest epoch
// is right. A connection to any other is closed, and made to the right one.
type sentinels struct {
	name  string // of the primary
	user  string
	addrs []string
	all   []*redis.SentinelClient // by address
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)

	mu    sync.Mutex
	right naming          // of the highest epoch
	heard time.Time       // when a Sentinel last said that
	named map[string]bool // the primaries that were ever named: connect also connects to Sentinels
	conns map[*followed]struct{}
}

func newSentinels(opts Options, o *redis.UniversalOptions) *sentinels {
	s := &sentinels{
		name: opts.Primary, addrs: opts.Addrs, user: cmp.Or(opts.SentinelUser, "default"), named: map[string]bool{}, conns: map[*followed]struct{}{},
		dial: redis.NewDialer(&redis.Options{DialTimeout: o.DialTimeout, TLSConfig: o.TLSConfig}),
	}
	for _, addr := range opts.Addrs {
		s.all = append(s.all, redis.NewSentinelClient(&redis.Options{
			Addr: addr, Username: opts.SentinelUser, Password: opts.SentinelPassword, TLSConfig: o.TLSConfig, ClientName: o.ClientName,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, ContextTimeoutEnabled: true,
			PoolSize: 1, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}))
	}
	return s
}

// close closes the connections to the Sentinels.
func (s *sentinels) close() {
	for _, c := range s.all {
		_ = c.Close()
	}
}

// run asks until ctx ends. A round takes at most patience.
func (s *sentinels) run(ctx context.Context, patience time.Duration) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		round, cancel := context.WithTimeout(ctx, patience)
		s.learn(s.ask(round), time.Now())
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// naming is the primary that a Sentinel names, and the epoch of its configuration.
type naming struct {
	primary string
	epoch   uint64
}

// ask returns what the Sentinels say that answer.
func (s *sentinels) ask(ctx context.Context) []naming {
	var mu sync.Mutex
	var all []naming
	var asked sync.WaitGroup
	for _, c := range s.all {
		asked.Go(func() {
			// The epoch first: if the configuration changes before the second answer, the
			// new primary comes with the old epoch, and not the reverse. SENTINEL MASTER
			// has an address as well, but the old one until a failover is complete.
			config, err := c.Master(ctx, s.name).Result()
			if err != nil {
				return
			}
			addr, err := c.GetMasterAddrByName(ctx, s.name).Result()
			epoch, invalid := strconv.ParseUint(config["config-epoch"], 10, 64)
			if err != nil || invalid != nil || len(addr) != 2 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, naming{net.JoinHostPort(addr[0], addr[1]), epoch})
		})
	}
	asked.Wait()
	return all
}

// learn learns what the Sentinels say at a time, and closes the connections to primaries
// that have been replaced. If two are named with the highest epoch, or none with as high a
// one as before, nothing changes: a Sentinel that is outdated may be the only one to
// answer. Only if that lasts, somebody has set up the Sentinels anew.
func (s *sentinels) learn(all []naming, now time.Time) {
	var newest naming
	tied := false
	for _, n := range all {
		if newest.primary == "" || n.epoch > newest.epoch {
			newest, tied = n, false
		} else if n.epoch == newest.epoch && n.primary != newest.primary {
			tied = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range all {
		s.named[n.primary] = true
	}
	if newest.primary == "" || tied || newest.epoch < s.right.epoch && now.Sub(s.heard) < epochKept {
		return
	}
	s.right, s.heard = newest, now
	for c := range s.conns {
		if s.isReplaced(c.to) {
			_ = c.Conn.Close() // whoever uses it closes c
		}
	}
}

// isReplaced reports whether an address is that of a primary that is none any more.
func (s *sentinels) isReplaced(addr string) bool {
	return s.named[addr] && s.right.primary != "" && s.right.primary != addr
}

// connect connects to an address that a Sentinel named, or to a Sentinel.
func (s *sentinels) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	if s.isReplaced(addr) {
		addr = s.right.primary
	}
	s.mu.Unlock()
	c, err := s.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isReplaced(addr) {
		_ = c.Close()
		return nil, errOutdated
	}
	f := &followed{c, addr, s}
	s.conns[f] = struct{}{}
	if raw, ok := c.(syscall.Conn); ok { // by which go-redis sees that it has been closed
		return followedRaw{f, raw}, nil
	}
	return f, nil
}

// followed is a connection that is closed when its server is no longer the primary.
type followed struct {
	net.Conn
	to string
	of *sentinels
}

// Close implements net.Conn.
func (f *followed) Close() error {
	f.of.mu.Lock()
	delete(f.of.conns, f)
	f.of.mu.Unlock()
	return f.Conn.Close()
}

type followedRaw struct {
	*followed
	syscall.Conn
}

// refusals returns which Sentinels do not let the user ask for the epoch. One that does
// not answer is not included.
func (s *sentinels) refusals(ctx context.Context) []Refusal {
	var refused []Refusal
	for n, c := range s.all {
		err := c.Master(ctx, s.name).Err()
		if kind, command := refusalOf(err); kind == commandRefused {
			refused = append(refused, Refusal{Addr: s.addrs[n], User: s.user, Commands: []string{cmp.Or(command, "sentinel|master")}})
		}
	}
	return refused
}
