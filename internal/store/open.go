package store

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"authsvc/internal/token"
)

// Opened is a store that its owner closes. A call after that fails with
// token.ErrUnavailable.
type Opened interface {
	token.Store
	io.Closer
}

// Open opens the store that the scheme of opts.URL names: redis://, rediss:// or
// memory://. It connects to nothing: a Redis that is away is no error here.
//
// No error of Open, or of the store, holds the password of the URL.
func Open(opts RedisOptions) (Opened, error) {
	scheme, rest, _ := strings.Cut(opts.URL, "://")
	switch scheme {
	case "redis", "rediss":
		return OpenRedis(opts)
	case "memory":
		if rest != "" || opts.hasFiles() {
			return nil, errors.New("the store memory:// takes neither an address nor certificates")
		}
		return NewMemory(time.Now), nil
	}
	if !strings.Contains(opts.URL, "://") || strings.ContainsAny(scheme, "@:/") {
		scheme = "" // it may be anything, even a password
	}
	return nil, fmt.Errorf("the scheme %q of the store's URL is none of redis://, rediss:// and memory://", scheme)
}
