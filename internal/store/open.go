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

const memoryURL = "memory://"

// Open opens the store that opts.URL names: memory://, or a Redis, as in
// RedisOptions. It connects to nothing: a Redis that is away is no error here.
//
// No error of Open, or of the store, holds the password of the URL.
func Open(opts RedisOptions) (Opened, error) {
	if !strings.HasPrefix(opts.URL, memoryURL) {
		return OpenRedis(opts)
	}
	if _, err := CheckURL(opts.URL); err != nil {
		return nil, fmt.Errorf("the store's URL %w", err)
	}
	if opts.hasFiles() {
		return nil, errors.New("the store memory:// takes no certificates")
	}
	return NewMemory(time.Now), nil
}
