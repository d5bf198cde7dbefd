package store

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed" // for swap.lua
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.opentelemetry.io/otel/trace"

	"authsvc/internal/token"
)

// RedisOptions say where Redis is.
type RedisOptions struct {
	// URL is redis://, rediss:// or unix:// for one Redis; redis+sentinel:// for
	// the primary that Sentinels name; redis+cluster:// for a Cluster, of which
	// some nodes are named; rediss+sentinel:// and rediss+cluster:// with TLS. See
	// parseURL for what comes after.
	URL string
	// Password is that of Redis, where the URL holds none.
	Password string
	// SentinelUser and SentinelPassword are for the Sentinels, which have their
	// own; both empty: they want none.
	SentinelUser, SentinelPassword string
	// Prefix begins each key (see CheckPrefix); empty: DefaultPrefix.
	Prefix string
	// ClientName is what CLIENT LIST shows; empty: "authsvc".
	ClientName string
	// CAFile has the certificates (PEM) to check that of Redis with, instead
	// of the system's; CertFile and KeyFile are what authsvc shows. TLS only.
	CAFile, CertFile, KeyFile string
	// Timeout is the deadline of a request; no single read or write takes
	// longer, nor longer than 100 ms.
	Timeout time.Duration
	// OnReach, which may be nil, is told that a Redis is away, by the error it
	// failed with, that it is back, by nil, or that another has taken its place,
	// by ErrReplaced; and since when it was away. It is called from goroutines of
	// the store.
	OnReach func(node string, err error, since time.Time)
	// Traces, which may be nil, makes spans of what is asked of Redis.
	Traces trace.TracerProvider
}

func (o *RedisOptions) hasFiles() bool { return o.CAFile != "" || o.CertFile != "" || o.KeyFile != "" }

// DefaultPrefix begins each key that authsvc has in Redis.
const DefaultPrefix = "authsvc:"

const (
	maxIO       = 100 * time.Millisecond // of one read or write, so that a request has time for another
	dialTimeout = 500 * time.Millisecond
	// poolSize bounds the connections to one Redis, of which a few are in use at a
	// time. go-redis also counts failed dials up to it, and then dials only once
	// a second: it is large so that Redis is found as soon as it is back.
	poolSize = 100
	// roleValid is how long a connection to a single Redis is used: it led to a
	// primary when it was made, and one that is made a replica keeps its connections.
	roleValid = 2 * time.Second
	// queueLimit bounds the commands that wait for a Redis that is slow. A
	// command in the queue does not heed its context; its caller does.
	queueLimit = 10_000
	// repeats is how often a command is sent again after its connection failed.
	repeats = 2
)

//go:embed swap.lua
var swapSource string

var swapSHA = redis.NewScript(swapSource).Hash()

// silence keeps go-redis from writing lines of its own to standard error: each
// error it has also comes back to a caller, and is logged there.
var silence = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

type quiet struct{}

// Printf writes nothing.
func (quiet) Printf(context.Context, string, ...any) {}

// Redis keeps each record under one key of a Redis, 7.0 or later: one server, the
// primary that Sentinels name, or a Cluster. It is safe for concurrent use.
//
// Commands of concurrent callers for one primary are sent together
// (auto-pipelining). Such a command cannot be taken back: a caller who gives up
// leaves it behind, and it may still be done. So all but Create are safe to
// repeat, and Swap carries a time after which it does nothing.
type Redis struct {
	client   redis.UniversalClient
	cluster  *redis.ClusterClient // client, if it is one; else nil
	sentinel bool                 // Sentinels name the primary
	prefix   string
	limit    int // of each queue
	onReach  func(node string, err error, since time.Time)

	only  *node    // where there is no Cluster
	nodes sync.Map // *redis.Client to *node, of a Cluster
	// layout is whether it could be learnt which node of a Cluster has which
	// slots.
	layout *reach

	mu    sync.Mutex // of starting tasks
	life  context.Context
	end   context.CancelFunc // of life
	tasks sync.WaitGroup

	samples sampler // of Facts

	leaving sync.Mutex // of nodes, so that each is in nodes or in left
	left    PoolStats  // of those that left the Cluster: what counts only up
}

var _ Opened = (*Redis)(nil)

// node is one primary, or who stands for it.
type node struct {
	name   string
	client *redis.Client
	pipe   *redis.AutoPipeliner
	reach  reach
	missed atomic.Pointer[string] // of a Cluster: a key that a call failed for
}

// OpenRedis returns a store in a Redis, without connecting to it.
func OpenRedis(opts RedisOptions) (*Redis, error) {
	t, err := parseURL(opts.URL)
	if err != nil {
		return nil, fmt.Errorf("the store's URL %w", err)
	}
	o, err := clientOptions(t, opts)
	if err != nil {
		return nil, err
	}
	return newRedis(t, o, opts, queueLimit)
}

func newRedis(t target, o *redis.UniversalOptions, opts RedisOptions, limit int) (*Redis, error) {
	silence()
	r := &Redis{sentinel: t.topology == sentinel, prefix: opts.Prefix, limit: limit, onReach: opts.OnReach}
	if r.prefix == "" {
		r.prefix = DefaultPrefix
	}
	if err := CheckPrefix(r.prefix); err != nil {
		return nil, fmt.Errorf("the prefix of the store's keys %w", err)
	}
	r.life, r.end = context.WithCancel(context.Background())
	var one *redis.Client
	name := "the primary"
	switch t.topology {
	case cluster:
		c := o.Cluster()
		c.DisableRoutingPolicies = true // each command of ours is for the primary of its key
		r.cluster = redis.NewClusterClient(c)
		if opts.Traces != nil {
			r.cluster.OnNewNode(func(c *redis.Client) { _ = instrument(c, opts.Traces) }) // it fails for no *redis.Client
		}
		r.client = r.cluster
		r.layout = &reach{run: r.run, changed: r.changed("the Cluster"), probe: func(ctx context.Context) error {
			_, err := r.cluster.MasterForKey(ctx, r.prefix)
			return err
		}}
		return r, nil
	case sentinel:
		one, name = redis.NewFailoverClient(o.Failover()), "the primary of "+t.primary
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

func (r *Redis) newNode(c *redis.Client, name string) (*node, error) {
	pipe, err := c.AsyncAutoPipelineWithOptions(&redis.AutoPipelineOptions{MaxQueuedCommands: r.limit})
	if err != nil {
		return nil, fmt.Errorf("setting up Redis: %w", err)
	}
	n := &node{name: name, client: c, pipe: pipe}
	n.reach.run, n.reach.changed = r.run, r.changed(name)
	n.reach.probe = func(ctx context.Context) error {
		if key := n.missed.Load(); key != nil {
			r.cluster.ReloadState(ctx)
			if now, err := r.cluster.MasterForKey(ctx, *key); err == nil && now != c {
				return ErrReplaced
			}
		}
		// Any answer will do. It goes the way of all commands.
		if err := pipe.Submit(ctx, redis.NewCmd(ctx, "TIME")).WaitContext(ctx); isConnectionError(err) {
			return err
		}
		return nil
	}
	return n, nil
}

func (r *Redis) changed(node string) func(error, time.Time) {
	return func(err error, since time.Time) {
		if r.onReach != nil {
			r.onReach(node, err, since)
		}
	}
}

func clientOptions(t target, opts RedisOptions) (*redis.UniversalOptions, error) {
	if !t.tls && opts.hasFiles() {
		return nil, errors.New("certificates are given for a store that is not asked for TLS: its URL begins with redis, not rediss")
	}
	var secure *tls.Config
	if t.tls {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
		if err := loadFiles(secure, opts); err != nil {
			return nil, err
		}
	}
	if t.password == "" {
		t.password = opts.Password
	}
	if t.user != "" && t.password == "" || opts.SentinelUser != "" && opts.SentinelPassword == "" {
		return nil, errors.New("a user of the store is named without a password") // go-redis would not say who we are
	}
	each := maxIO
	if opts.Timeout > 0 {
		each = min(each, opts.Timeout)
	}
	name := opts.ClientName
	if name == "" {
		name = "authsvc"
	}
	o := &redis.UniversalOptions{
		Addrs: t.addrs, MasterName: t.primary, DB: t.db, TLSConfig: secure,
		Username: t.user, Password: t.password, SentinelUsername: opts.SentinelUser, SentinelPassword: opts.SentinelPassword,

		ClientName:      name,
		DisableIdentity: true, // a round trip less on each connection
		// A command whose reply was lost may have been done. Only its
		// owner, below, knows whether it can be sent again.
		MaxRetries:            -1,
		DialerRetries:         1,
		ContextTimeoutEnabled: true,
		DialTimeout:           dialTimeout,
		ReadTimeout:           each,
		WriteTimeout:          each,
		PoolTimeout:           each,
		PoolSize:              poolSize,
		PipelinePoolSize:      poolSize,
		// They would relax the timeouts while a managed Redis is upgraded.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if t.topology != cluster { // a replica of a Cluster sends its callers on
		o.OnConnect = func(ctx context.Context, c *redis.Conn) error { return refuseReplica(ctx, c, t.topology == sentinel) }
	}
	if t.topology == single { // Sentinels end the connections of a primary that they replace
		o.ConnMaxLifetime = roleValid
	}
	return o, nil
}

// refuseReplica lets no connection be used that leads to a replica: it would
// answer reads with what was true a while ago, and a token that was revoked since
// would pass. A connection can end up there in a failover. go-redis asks for the
// Sentinels' connections as well, where there are any.
func refuseReplica(ctx context.Context, c *redis.Conn, sentinels bool) error {
	reply, err := c.Do(ctx, "ROLE").Slice()
	if kind, _ := refusalOf(err); kind == commandMissing { // as in Redis Enterprise
		info, err := c.Info(ctx, "replication").Result()
		if err == nil && strings.Contains(info, "role:slave") {
			err = ErrReplica
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("asking for the role of Redis: %w", err)
	}
	switch {
	case len(reply) > 0 && (reply[0] == "master" || reply[0] == "sentinel" && sentinels):
		return nil
	case len(reply) > 0 && reply[0] == "sentinel":
		return errSentinel
	case len(reply) > 2:
		return replicaError{fmt.Sprint(reply[1], ":", reply[2])}
	}
	return ErrReplica
}

var errSentinel = errors.New("this is a Sentinel, and no Redis: the store's URL must be redis+sentinel://")

// ErrReplica is why a connection to a Redis that is no primary is not used.
var ErrReplica = errors.New("this Redis is a replica, which may lag behind; the store must be its primary")

// replicaError is ErrReplica with the primary's host:port. It does not unwrap to
// it: go-redis hands on what the error of a hook wraps, in its place.
type replicaError struct{ primary string }

func (e replicaError) Error() string        { return ErrReplica.Error() + ", " + e.primary }
func (e replicaError) Is(target error) bool { return target == ErrReplica }

func loadFiles(c *tls.Config, opts RedisOptions) error {
	if opts.CAFile != "" {
		pem, err := os.ReadFile(opts.CAFile)
		if err != nil {
			return fmt.Errorf("reading the CA of the store: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("the CA of the store, %s, has no certificate in PEM", opts.CAFile)
		}
	}
	if opts.CertFile != "" || opts.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(opts.CertFile, opts.KeyFile)
		if err != nil {
			return fmt.Errorf("the certificate and key to show to the store: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// Close sends what is queued, if Redis is in reach, and ends the connections.
func (r *Redis) Close() error {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	err := r.client.Close()
	r.tasks.Wait()
	return err
}

// run runs a task until Close.
func (r *Redis) run(task func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() == nil {
		r.tasks.Go(func() { task(r.life) })
	}
}

// Create is token.Store's.
func (r *Redis) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	key := r.key(id)
	reply, err := r.once(ctx, key, "SET", key, record, "NX", "PXAT", millis(expireAt))
	switch {
	case errors.Is(err, redis.Nil):
		return token.ErrExists
	case err == nil && reply == "OK":
		return nil
	}
	return unavailable(reply, err)
}

// Get is token.Store's.
func (r *Redis) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	key := r.key(id)
	reply, err := r.repeated(ctx, key, "GET", key)
	record, ok := reply.(string)
	switch {
	case errors.Is(err, redis.Nil):
		return nil, token.ErrNotFound
	case err == nil && ok:
		return []byte(record), nil
	}
	return nil, unavailable(reply, err)
}

// Swap is token.Store's.
func (r *Redis) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	key := r.key(id)
	args := []any{"EVALSHA", swapSHA, 1, key, was, next, millis(expireAt), notAfter.UnixMicro()}
	reply, err := r.repeated(ctx, key, args...)
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // a Redis that is new, or forgot; it did nothing
		args[0], args[1] = "EVAL", swapSource
		reply, err = r.repeated(ctx, key, args...)
	}
	switch {
	case err == nil && reply == "swapped":
		return nil
	case err == nil && reply == "conflict":
		return token.ErrConflict
	case err == nil && reply == "late":
		return token.ErrLate
	}
	return unavailable(reply, err)
}

// Delete is token.Store's.
func (r *Redis) Delete(ctx context.Context, id token.GrantID) error {
	key := r.key(id)
	reply, err := r.repeated(ctx, key, "DEL", key)
	if _, ok := reply.(int64); ok && err == nil {
		return nil
	}
	return unavailable(reply, err)
}

// timeSource asks for the time in a script, because Redis refuses scripts for as
// long as it does not serve: while it loads its data, or, with a key, while the
// Cluster is down.
const timeSource = "return redis.call('TIME')"

// Now is token.Store's. It goes over a connection of its own, past the queue and
// the breaker, and is not repeated: its caller takes half of the round trip off.
//
// In a Cluster it is the time of the primary that has the slot of the prefix, so
// that all processes ask the same one; while that does not tell it, of any other.
func (r *Redis) Now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, unavailable(nil, err)
	}
	n, err := r.nodeOf(ctx, r.prefix)
	if err != nil {
		return time.Time{}, unavailable(nil, err)
	}
	var t time.Time
	if err = errAway; r.cluster == nil || n.reach.allows() {
		t, err = now(ctx, n.client, r.prefix)
		r.note(n, r.prefix, err)
	}
	if err != nil && r.cluster != nil && !redis.IsClusterDownError(err) {
		t, err = r.nowElsewhere(ctx, n.client, err)
	}
	if err != nil {
		return time.Time{}, unavailable(nil, err)
	}
	return t, nil
}

// nowElsewhere is the time of any primary but one, which did not tell it because
// of cause.
func (r *Redis) nowElsewhere(ctx context.Context, but *redis.Client, cause error) (found time.Time, err error) {
	var mu sync.Mutex
	err = r.eachPrimary(ctx, func(ctx context.Context, _ string, c *redis.Client) error {
		if c == but {
			return nil
		}
		t, err := now(ctx, c, r.prefix)
		if err != nil {
			return unavailable(nil, err)
		}
		mu.Lock()
		defer mu.Unlock()
		found = t
		return nil
	})
	if !found.IsZero() {
		return found, nil
	}
	if err == nil {
		err = cause // there is no other
	}
	return found, err
}

// now asks a server for its time, if it serves requests for a key, or knows who
// does.
func now(ctx context.Context, c *redis.Client, key string) (time.Time, error) {
	reply, err := c.Eval(ctx, timeSource, []string{key}).StringSlice()
	if isRedirection(err) {
		reply, err = c.Eval(ctx, timeSource, nil).StringSlice()
	}
	if err != nil {
		return time.Time{}, err
	}
	if len(reply) == 2 {
		seconds, err1 := strconv.ParseInt(reply[0], 10, 64)
		micros, err2 := strconv.ParseInt(reply[1], 10, 64)
		if err1 == nil && err2 == nil {
			return time.Unix(seconds, micros*int64(time.Microsecond)), nil
		}
	}
	return time.Time{}, errors.New("Redis answered TIME with something else")
}

// eachPrimary calls f for each primary, with its address, at the same time; and
// returns an error of f, if there was one.
func (r *Redis) eachPrimary(ctx context.Context, f func(ctx context.Context, addr string, c *redis.Client) error) error {
	switch {
	case r.cluster != nil:
		var any atomic.Bool
		err := r.cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			any.Store(true)
			return f(ctx, c.Options().Addr, c)
		})
		if err == nil && !any.Load() {
			err = errors.New("the Cluster has no primary with a slot")
		}
		if err != nil && !errors.Is(err, token.ErrUnavailable) {
			err = unavailable(nil, err) // it has no layout
		}
		return err
	case r.sentinel:
		return f(ctx, cmp.Or(whereIs(ctx, r.only.client), r.only.name), r.only.client)
	}
	return f(ctx, r.only.client.Options().Addr, r.only.client)
}

// whereIs asks the primary that Sentinels name for its own address, which go-redis
// keeps to itself.
func whereIs(ctx context.Context, c *redis.Client) string {
	info, _ := c.Do(ctx, "CLIENT", "INFO").Text() // it may not be permitted
	_, rest, _ := strings.Cut(info, " laddr=")
	addr, _, _ := strings.Cut(rest, " ")
	return addr
}

// nodeOf is the primary that has a key, or whoever is thought to.
func (r *Redis) nodeOf(ctx context.Context, key string) (*node, error) {
	if r.cluster == nil {
		return r.only, nil
	}
	if !r.layout.allows() {
		return nil, errAway
	}
	c, err := r.cluster.MasterForKey(ctx, key)
	if err != nil {
		if isConnectionError(err) {
			r.layout.failed(err)
		}
		return nil, err
	}
	r.layout.succeeded()
	if n, ok := r.nodes.Load(c); ok {
		return n.(*node), nil
	}
	n, err := r.newNode(c, c.Options().Addr)
	if err != nil {
		return nil, err
	}
	r.forgetLeft()
	kept, _ := r.nodes.LoadOrStore(c, n) // the pipeline is the client's, and the same
	return kept.(*node), nil
}

// forgetLeft forgets the nodes that left the Cluster.
func (r *Redis) forgetLeft() {
	r.leaving.Lock()
	defer r.leaving.Unlock()
	r.nodes.Range(func(c, n any) bool {
		if n.(*node).pipe.IsClosed() {
			r.nodes.Delete(c)
			r.left.add(c.(*redis.Client))
			r.left.Idle, r.left.InUse = 0, 0
		}
		return true
	})
}

// once queues a command for the primary of a key and waits for its reply, or for
// ctx to end.
func (r *Redis) once(ctx context.Context, key string, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n, err := r.nodeOf(ctx, key)
	if err != nil {
		return nil, err
	}
	if !n.reach.allows() {
		return nil, errAway
	}
	cmd := redis.NewCmd(ctx, args...)
	err = n.pipe.Submit(ctx, withSpan(ctx, cmd)).WaitContext(ctx)
	r.note(n, key, err)
	if err == nil {
		return cmd.Val(), nil
	}
	if r.cluster != nil && isRedirection(err) { // the slot is elsewhere, or on its way
		moved := sentOnce{redis.NewCmd(ctx, args...)}
		if err = r.cluster.Process(ctx, moved); err == nil {
			return moved.Val(), nil
		}
	}
	return nil, err // and leave cmd alone: it may still be written to
}

// sentOnce is a command that go-redis follows to another node, but sends to no
// node twice.
type sentOnce struct{ *redis.Cmd }

// NoRetry is redis.Cmder's.
func (sentOnce) NoRetry() bool { return true }

// note keeps what a call for a key says of the reach of its node.
func (r *Redis) note(n *node, key string, err error) {
	switch {
	case err == nil || isAnswer(err):
		n.reach.succeeded()
	case isConnectionError(err):
		if r.cluster != nil {
			n.missed.Store(&key)
		}
		n.reach.failed(err)
	}
}

// repeated is once, and again where the connection failed: the command may have
// been done, or not, so it must be one that is safe to repeat.
func (r *Redis) repeated(ctx context.Context, key string, args ...any) (any, error) {
	for n := 0; ; n++ {
		reply, err := r.once(ctx, key, args...)
		if n == repeats || !isConnectionError(err) || !pause(ctx) {
			return reply, err
		}
	}
}

// isAnswer tells an answer of Redis from an error on the way.
func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

// isConnectionError tells an error on the way from an answer of Redis, and from
// our own refusal to ask it.
func isConnectionError(err error) bool {
	return err != nil && !isAnswer(err) && !errors.Is(err, errAway) &&
		!errors.Is(err, redis.ErrAutoPipelineQueueFull) && !errors.Is(err, redis.ErrClosed)
}

func isRedirection(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask
}

// pause waits a few milliseconds, not all callers the same, and tells whether ctx
// is still alive.
func pause(ctx context.Context) bool {
	t := time.NewTimer(2*time.Millisecond + rand.N(8*time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// argsOfUnknown is what Redis goes on with where it does not know a command.
const argsOfUnknown = ", with args beginning with"

func unavailable(reply any, err error) error {
	switch {
	case err == nil:
		err = fmt.Errorf("Redis answered with an unforeseen %T", reply) // not with its value: it may be a record
	case errors.Is(err, token.ErrUnavailable):
		return err
	case strings.Contains(err.Error(), argsOfUnknown):
		text, _, _ := strings.Cut(err.Error(), argsOfUnknown)
		err = errors.New(text) // what follows is a grant's id, and its record
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}

func (r *Redis) key(id token.GrantID) string {
	return r.prefix + "g:" + base64.RawURLEncoding.EncodeToString(id[:])
}

// millis is a time for PXAT, which takes none before 1970.
func millis(t time.Time) int64 { return max(1, t.UnixMilli()) }
