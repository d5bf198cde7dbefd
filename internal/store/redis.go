package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed" // for swap.lua
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"authsvc/internal/token"
)

// RedisOptions say where Redis is.
type RedisOptions struct {
	// URL is redis:// or rediss://, with user:password@, host:port and /db as
	// needed. What go-redis takes behind a ? is accepted, and has no effect:
	// what it could change keeps a request within its deadline.
	URL string
	// CAFile has the certificates (PEM) to check that of Redis with, instead
	// of the system's; CertFile and KeyFile are what authsvc shows. rediss:// only.
	CAFile, CertFile, KeyFile string
	// Timeout is the deadline of a request; no single read or write takes
	// longer, nor longer than 100 ms.
	Timeout time.Duration
}

func (o *RedisOptions) hasFiles() bool { return o.CAFile != "" || o.CertFile != "" || o.KeyFile != "" }

const (
	keyPrefix = "authsvc:g:"

	maxIO       = 100 * time.Millisecond // of one read or write, so that a request has time for another
	dialTimeout = 500 * time.Millisecond
	poolSize    = 10
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

// Redis keeps each record under one key of a Redis, 7.0 or later. It is safe for
// concurrent use.
//
// Commands of concurrent callers are sent together (auto-pipelining). Such a
// command cannot be taken back: a caller who gives up leaves it behind, and it may
// still be done. So all but Create are safe to repeat, and Swap carries a time
// after which it does nothing.
type Redis struct {
	client *redis.Client
	pipe   *redis.AutoPipeliner
}

var _ Opened = (*Redis)(nil)

// OpenRedis returns a store in a Redis, without connecting to it.
func OpenRedis(opts RedisOptions) (*Redis, error) {
	o, err := clientOptions(opts)
	if err != nil {
		return nil, err
	}
	return newRedis(o, queueLimit)
}

func newRedis(o *redis.Options, limit int) (*Redis, error) {
	silence()
	client := redis.NewClient(o)
	pipe, err := client.AsyncAutoPipelineWithOptions(&redis.AutoPipelineOptions{MaxQueuedCommands: limit})
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("setting up Redis: %w", err)
	}
	return &Redis{client: client, pipe: pipe}, nil
}

func clientOptions(opts RedisOptions) (*redis.Options, error) {
	u, err := parseURL(opts.URL)
	if err != nil {
		return nil, err
	}
	if u.TLSConfig == nil && opts.hasFiles() {
		return nil, errors.New("certificates are given for a store that is not asked for TLS: its URL is redis://, not rediss://")
	}
	if u.TLSConfig != nil {
		if err := loadFiles(u.TLSConfig, opts); err != nil {
			return nil, err
		}
	}
	each := maxIO
	if opts.Timeout > 0 {
		each = min(each, opts.Timeout)
	}
	return &redis.Options{
		Network: u.Network, Addr: u.Addr, Username: u.Username, Password: u.Password, DB: u.DB, TLSConfig: u.TLSConfig,

		ClientName:      "authsvc",
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
		// They would relax the timeouts while a managed Redis is upgraded.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}, nil
}

// parseURL takes what says where Redis is from a URL. Its errors hold no part of
// the URL that could be a piece of a password in disguise: one with a / # or ?
// that was not percent-encoded ends up in the port, the path or the query.
func parseURL(raw string) (*redis.Options, error) {
	const hint = "in the user and the password, percent-encode what is not a letter or a digit"
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "redis" && u.Scheme != "rediss") || u.Opaque != "" || u.Fragment != "" ||
		strings.Contains(u.EscapedPath()+u.RawQuery, "@") {
		return nil, errors.New("the store's URL is not of the form redis://user:password@host:port/db, or rediss://; " + hint)
	}
	if u.Query().Has("skip_verify") {
		return nil, errors.New("the store's URL asks for skip_verify, which makes TLS useless; give the CA of Redis instead")
	}
	o, err := redis.ParseURL(raw)
	if err != nil {
		return nil, fmt.Errorf("the store's URL: %w", err) // of the path or the query, which are no secrets
	}
	return o, nil
}

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
func (r *Redis) Close() error { return r.client.Close() }

// Create is token.Store's.
func (r *Redis) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	reply, err := r.once(ctx, "SET", key(id), record, "NX", "PXAT", millis(expireAt))
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
	reply, err := r.repeated(ctx, "GET", key(id))
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
	args := []any{"EVALSHA", swapSHA, 1, key(id), was, next, millis(expireAt), notAfter.UnixMicro()}
	reply, err := r.repeated(ctx, args...)
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // a Redis that is new, or forgot; it did nothing
		args[0], args[1] = "EVAL", swapSource
		reply, err = r.repeated(ctx, args...)
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
	reply, err := r.repeated(ctx, "DEL", key(id))
	if _, ok := reply.(int64); ok && err == nil {
		return nil
	}
	return unavailable(reply, err)
}

// Now is token.Store's. It goes over a connection of its own, past the queue, and
// is not repeated: its caller takes half of the round trip off.
func (r *Redis) Now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, unavailable(nil, err)
	}
	now, err := r.client.Time(ctx).Result()
	if err != nil {
		return time.Time{}, unavailable(nil, err)
	}
	return now, nil
}

// once queues a command and waits for its reply, or for ctx to end.
func (r *Redis) once(ctx context.Context, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cmd := redis.NewCmd(ctx, args...)
	if err := r.pipe.Submit(ctx, cmd).WaitContext(ctx); err != nil {
		return nil, err // and leave cmd alone: it may still be written to
	}
	return cmd.Val(), nil
}

// repeated is once, and again where the connection failed: the command may have
// been done, or not, so it must be one that is safe to repeat.
func (r *Redis) repeated(ctx context.Context, args ...any) (any, error) {
	for n := 0; ; n++ {
		reply, err := r.once(ctx, args...)
		if err == nil || n == repeats || !isConnectionError(err) || !pause(ctx) {
			return reply, err
		}
	}
}

// isConnectionError tells an error on the way from an answer of Redis, and from
// our own refusal to queue any more.
func isConnectionError(err error) bool {
	var answer redis.Error
	return !errors.As(err, &answer) && !errors.Is(err, redis.ErrAutoPipelineQueueFull) && !errors.Is(err, redis.ErrClosed)
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

func unavailable(reply any, err error) error {
	if err == nil {
		err = fmt.Errorf("Redis answered with an unforeseen %T", reply) // not with its value: it may be a record
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}

func key(id token.GrantID) string { return keyPrefix + base64.RawURLEncoding.EncodeToString(id[:]) }

// millis is a time for PXAT, which takes none before 1970.
func millis(t time.Time) int64 { return max(1, t.UnixMilli()) }
