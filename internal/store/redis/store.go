package redis

import (
	"context"
	_ "embed" // for the scripts
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"authsvc/internal/redisconn"
	"authsvc/internal/token"
)

var (
	//go:embed swap.lua
	swapSource string
	//go:embed delete.lua
	deleteSource string

	swap   = redisconn.NewScript(swapSource)
	remove = redisconn.NewScript(deleteSource)
)

// Store keeps each record under one key. It is safe for concurrent use.
//
// A command whose caller has given up may still be executed. So all except Create are safe
// to repeat, and Swap has a deadline after which it does nothing.
type Store struct {
	conn  *redisconn.Conn
	opts  Options
	known atomic.Pointer[knowledge] // by Monitor; nil: nothing yet
}

// Options say how a Store monitors its shards.
type Options struct {
	// Timeout is that of a request: a shard that answers later could not be asked. 0: two
	// seconds, which is also the most.
	Timeout time.Duration
	// OnOutage, which may be nil, is called after an outage, with the slots of the shard.
	OnOutage func(shard string, took time.Duration)
	// OnShared, which may be nil, is called with the error if what was seen can't be shared
	// with other processes, and with nil once it can again.
	OnShared func(error)
}

var _ token.Store = (*Store)(nil)

// New returns a store over a connection, which it takes over.
func New(conn *redisconn.Conn, opts Options) *Store {
	if opts.Timeout == 0 || opts.Timeout > longestRead {
		opts.Timeout = longestRead
	}
	if opts.OnOutage == nil {
		opts.OnOutage = func(string, time.Duration) {}
	}
	if opts.OnShared == nil {
		opts.OnShared = func(error) {}
	}
	return &Store{conn: conn, opts: opts}
}

// Close closes the connection. Later calls fail with token.ErrUnavailable.
func (s *Store) Close() error { return s.conn.Close() }

// Create implements token.Store.
func (s *Store) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	key := s.key(id)
	reply, err := s.conn.Do(ctx, key, redisconn.Cmd{Args: []any{"SET", key, record, "NX", "PXAT", millis(expireAt)}})
	switch {
	case errors.Is(err, redisconn.ErrNil):
		return token.ErrExists
	case err == nil && reply == "OK":
		return nil
	}
	return unavailable(reply, err)
}

// Get implements token.Store.
func (s *Store) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	key := s.key(id)
	reply, err := s.conn.Do(ctx, key, redisconn.Cmd{Args: []any{"GET", key}, Repeatable: true})
	record, ok := reply.(string)
	switch {
	case errors.Is(err, redisconn.ErrNil):
		return nil, token.ErrNotFound
	case err == nil && ok:
		return []byte(record), nil
	}
	return nil, unavailable(reply, err)
}

// Swap implements token.Store.
func (s *Store) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	reply, err := s.conn.Run(ctx, swap, s.key(id), was, next, millis(expireAt), notAfter.UnixMicro())
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

// Delete implements token.Store.
func (s *Store) Delete(ctx context.Context, id token.GrantID, was []byte) error {
	reply, err := s.conn.Run(ctx, remove, s.key(id), was)
	switch {
	case err == nil && reply == "deleted":
		return nil
	case err == nil && reply == "conflict":
		return token.ErrConflict
	}
	return unavailable(reply, err)
}

// Now implements token.Store. See redisconn.Conn.Now for whose clock it is.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	now, err := s.conn.Now(ctx)
	if err != nil {
		return time.Time{}, unavailable(nil, err)
	}
	return now, nil
}

// Facts returns what redisconn.Conn.Facts does.
func (s *Store) Facts(ctx context.Context) ([]redisconn.NodeFacts, error) { return s.conn.Facts(ctx) }

// CheckPermissions checks the permissions for everything that the store does, as
// redisconn.Conn.CheckPermissions does.
func (s *Store) CheckPermissions(ctx context.Context) error {
	return s.conn.CheckPermissions(ctx, func(key string) [][]any {
		soon := time.Now().Add(time.Minute)
		commands := [][]any{
			{"SET", key, "check", "NX", "PXAT", millis(soon)},
			{"GET", key},
		}
		commands = append(commands, swap.Commands(key, "check", "checked", millis(soon), soon.UnixMicro())...)
		commands = append(commands, remove.Commands(key, "checked")...)
		commands = append(commands, putOutages.Commands(key, "", "check", millis(soon))...)
		return append(commands, []any{"DEL", key})
	})
}

// Pool returns the state of the connections.
func (s *Store) Pool() redisconn.PoolStats { return s.conn.Pool() }

// key returns the key of a grant; see Conn.Prefix for all others.
func (s *Store) key(id token.GrantID) string { return string(appendKey(nil, s.conn.Prefix(), id)) }

func appendKey(b []byte, prefix string, id token.GrantID) []byte {
	return base64.RawURLEncoding.AppendEncode(append(b, prefix...), id[:])
}

// millis returns a time for PXAT, which accepts none before 1970.
func millis(t time.Time) int64 { return max(1, t.UnixMilli()) }

func unavailable(reply any, err error) error {
	if err == nil {
		err = fmt.Errorf("unexpected reply of Redis: a %T", reply) // without the value, which may be a record
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}
