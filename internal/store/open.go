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

// Opened is a store that its owner closes. A call after that fails with
// token.ErrUnavailable.
type Opened interface {
	token.Store
	io.Closer
}

// Options say how a store is used. Memory takes none of them; for each see
// redisconn.Options.
type Options struct {
	ClientName string
	Timeout    time.Duration
	OnBreaker  func(node string, err error, since time.Time)
	Traces     trace.TracerProvider
}

// Open opens the store of a target. It connects to nothing: a Redis that does not
// answer is no error here. It fails where the target breaks a rule (see
// Target.Faults), and where a file that it names can't be used.
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
	return redis.New(conn), nil
}
