package store

import (
	"errors"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"

	"authsvc/internal/redisconn"
	"authsvc/internal/store/memory"
	"authsvc/internal/store/redis"
	"authsvc/internal/token"
)

// Opened is a store that must be closed. Later calls fail with token.ErrUnavailable.
type Opened interface {
	token.Store
	io.Closer
}

// Options say how a store is used; see redisconn.Options and redis.Options. The memory store uses none of
// them.
type Options struct {
	ClientName string
	Timeout    time.Duration
	OnBreaker  func(node string, err error, since time.Time)
	OnOutage   func(shard string, took time.Duration)
	OnShared   func(error)
	Traces     trace.TracerProvider
}

// Open opens the store of a target, without connecting yet: a Redis that does not answer
// is not an error here. It returns an error if the target breaks a rule (see
// Target.Faults) or names a file that can't be used.
//
// No error of Open, or of the store, holds a password of the target.
func Open(t Target, opts Options) (Opened, error) {
	var faults []error
	for _, f := range t.Faults(Part.String) {
		faults = append(faults, fmt.Errorf("%s %s", f.Part, f.What))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if t.Memory {
		return memory.New(time.Now), nil
	}
	secure, err := t.tlsConfig()
	if err != nil {
		return nil, err
	}
	conn, err := redisconn.Open(redisconn.Options{
		Topology: t.Topology, Addrs: t.Addrs, Primary: t.Primary, DB: t.DB, TLS: secure,
		User: t.User, Password: t.Password, SentinelUser: t.SentinelUser, SentinelPassword: t.SentinelPassword,
		Prefix: t.prefix(), ClientName: opts.ClientName, Timeout: opts.Timeout, OnBreaker: opts.OnBreaker, Traces: opts.Traces,
	})
	if err != nil {
		return nil, err
	}
	return redis.New(conn, redis.Options{Timeout: opts.Timeout, OnOutage: opts.OnOutage, OnShared: opts.OnShared}), nil
}
