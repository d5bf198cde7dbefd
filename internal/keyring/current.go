package keyring

import (
	"context"
	"sync/atomic"
	"time"
)

// Current holds the keyring that a process is using. It is safe for concurrent use.
type Current struct {
	ring   atomic.Pointer[Keyring]
	reload func(context.Context)
}

// NewCurrent returns a Current that holds ring. reload, which may be nil, is called when
// the keyring lacks a key that is looked up: it checks for a newer keyring, calls Replace,
// and returns when that is done or its context ends. Anyone can send a token with an
// unknown key id, so reload must limit its own rate.
func NewCurrent(ring *Keyring, reload func(context.Context)) *Current {
	c := &Current{reload: reload}
	c.ring.Store(ring)
	return c
}

// Ring returns the keyring in use.
func (c *Current) Ring() *Keyring { return c.ring.Load() }

// Signer returns the key that signs at the time now, by the store's clock.
func (c *Current) Signer(now time.Time) *Key { return c.Ring().Signer(now) }

// Key returns the key with an id, or nil if there is none. If the keyring lacks it, Key
// first reloads the keyring.
func (c *Current) Key(ctx context.Context, id byte) *Key {
	if key := c.Ring().Key(id); key != nil || c.reload == nil {
		return key
	}
	c.reload(ctx)
	return c.Ring().Key(id)
}

// Replace replaces the keyring in use with next. It changes nothing and returns an error
// if next has a different pepper or a different key under a known id, lacks a key whose
// tokens can still be valid at the time now, or brings back a dropped key.
func (c *Current) Replace(next *Keyring, now time.Time) error {
	if err := c.Ring().successor(next, now); err != nil {
		return err
	}
	c.ring.Store(next)
	return nil
}
