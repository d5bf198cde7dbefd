package redisconn

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
)

// Topology says how a Redis is set up.
type Topology int

// The topologies.
const (
	Single   Topology = iota
	Sentinel          // Sentinels name the primary
	Cluster
)

// Options say how to connect to Redis.
type Options struct {
	Topology Topology
	Addrs    []string // host:port, or one path that begins with /; the Sentinels' for Sentinel
	Primary  string   // the Sentinels' name for it
	DB       int      // 0 in a Cluster
	// User requires a Password, and SentinelUser a SentinelPassword. Sentinels have
	// users of their own; empty: no authentication.
	User, Password                 string
	SentinelUser, SentinelPassword string
	TLS                            *tls.Config // nil: no TLS
	// Prefix begins every key that is used; it must not be empty. Facts and permissions
	// are about these keys, and in a Cluster the primary with the slot of Prefix
	// provides the time.
	Prefix string
	// ClientName is shown by CLIENT LIST; empty: "authsvc". Redis accepts no spaces.
	ClientName string
	// Timeout is the deadline of a request. All other timeouts derive from it, and so
	// does how far away Redis may be (see Reach).
	Timeout time.Duration
	// OnBreaker, which may be nil, is called when the breaker of a primary opens, with
	// the error of Redis; when it closes, with nil; or when another Redis has replaced
	// the primary, with ErrReplaced. since is when Redis began to fail. It is called
	// from goroutines of the connection.
	OnBreaker func(node string, err error, since time.Time)
	// Traces, which may be nil, creates spans for commands.
	Traces trace.TracerProvider
}

// queueLimit bounds the commands that wait for a slow Redis. A command in the queue
// ignores its context; its caller does not.
const queueLimit = 10_000

// Conn is a connection to a Redis. It is safe for concurrent use.
//
// Commands of concurrent callers for one primary are sent together (auto-pipelining).
// Such a command can't be withdrawn: if its caller gives up, it may still be executed.
type Conn struct {
	client    redis.UniversalClient
	cluster   *redis.ClusterClient // client, if it is one; else nil
	sentinels *sentinels           // which name the primary; nil: none
	prefix    string
	limit     int // of each queue
	wait      timeouts
	onBreaker func(node string, err error, since time.Time)

	only  *node    // without a Cluster
	nodes sync.Map // *redis.Client to *node, in a Cluster
	// layout is the breaker for reading which node of a Cluster has which slots.
	layout *breaker

	mu    sync.Mutex // guards starting tasks
	life  context.Context
	end   context.CancelFunc // ends life
	tasks sync.WaitGroup

	samples sampler // for Facts

	leaving sync.Mutex // so that each node is counted in nodes or in left
	left    PoolStats  // totals of nodes that left the Cluster, so that counters never fall
}

// node is one primary, or the connection that leads to it.
type node struct {
	name    string
	client  *redis.Client
	pipe    *redis.AutoPipeliner
	breaker breaker
	missed  atomic.Pointer[string] // in a Cluster: a key that a call failed for
}

// Open returns a Conn, without connecting yet: a Redis that does not answer is not an
// error here.
func Open(opts Options) (*Conn, error) { return open(opts, clientOptions(opts), queueLimit) }

func open(opts Options, o *redis.UniversalOptions, limit int) (*Conn, error) {
	silence()
	r := &Conn{prefix: opts.Prefix, limit: limit, wait: timeoutsOf(opts.Timeout), onBreaker: opts.OnBreaker}
	r.life, r.end = context.WithCancel(context.Background())
	var one *redis.Client
	name := "the primary"
	switch opts.Topology {
	case Cluster:
		c := o.Cluster()
		c.DisableRoutingPolicies = true // each command is for the primary of its key
		r.cluster = redis.NewClusterClient(c)
		if opts.Traces != nil {
			r.cluster.OnNewNode(func(c *redis.Client) { _ = instrument(c, opts.Traces) }) // never fails for a *redis.Client
		}
		r.client = r.cluster
		r.layout = &breaker{opensAfter: r.wait.whole, run: r.run, changed: r.changed("the Cluster"), ping: func(ctx context.Context) error {
			_, err := r.cluster.MasterForKey(ctx, r.prefix)
			return err
		}}
		return r, nil
	case Sentinel:
		r.sentinels = newSentinels(opts, o)
		o.Dialer = r.sentinels.connect
		one, name = redis.NewFailoverClient(o.Failover()), "the primary of "+opts.Primary
		r.run(func(ctx context.Context) { r.sentinels.run(ctx, r.wait.whole) })
	default:
		one = redis.NewClient(o.Simple())
	}
	r.client = one
	if opts.Traces != nil {
		_ = instrument(one, opts.Traces)
	}
	var err error
	if r.only, err = r.newNode(one, name); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Conn) newNode(c *redis.Client, name string) (*node, error) {
	pipe, err := c.AsyncAutoPipelineWithOptions(&redis.AutoPipelineOptions{MaxQueuedCommands: r.limit})
	if err != nil {
		return nil, fmt.Errorf("setting up Redis: %w", err)
	}
	n := &node{name: name, client: c, pipe: pipe}
	n.breaker.opensAfter, n.breaker.run, n.breaker.changed = r.wait.whole, r.run, r.changed(name)
	n.breaker.ping = func(ctx context.Context) error {
		if key := n.missed.Load(); key != nil {
			r.cluster.ReloadState(ctx)
			if now, err := r.cluster.MasterForKey(ctx, *key); err == nil && now != c {
				return ErrReplaced
			}
		}
		// Any answer will do. The ping takes the same route as all commands.
		if err := pipe.Submit(ctx, redis.NewCmd(ctx, "TIME")).WaitContext(ctx); isUnanswered(err) {
			return err
		}
		return nil
	}
	return n, nil
}

func (r *Conn) changed(node string) func(error, time.Time) {
	return func(err error, since time.Time) {
		if r.onBreaker != nil {
			r.onBreaker(node, err, since)
		}
	}
}

// Prefix returns the prefix of every key. A grant's key is the prefix and 22 of the
// characters A-Z a-z 0-9 - _; every other key's begins with { after the prefix, so that no
// key is taken for one of the other kind, whatever either holds.
func (r *Conn) Prefix() string { return r.prefix }

// Close sends what is queued, if Redis answers, and closes the connections. Later calls
// fail.
func (r *Conn) Close() error {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	err := r.client.Close()
	r.tasks.Wait()
	if r.sentinels != nil {
		r.sentinels.close()
	}
	return err
}

// run runs a task in the background until Close.
func (r *Conn) run(task func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() == nil {
		r.tasks.Go(func() { task(r.life) })
	}
}
