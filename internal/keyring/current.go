package keyring

import (
	"context"
	"sync/atomic"
	"time"
)

// Current is the keyring that a process uses now. It is safe for concurrent use.
type Current struct {
	ring   atomic.Pointer[Keyring]
	reload func(context.Context)
}

// NewCurrent returns a Current that holds ring. reload, which may be nil, is called
// when a key is looked up that the keyring lacks: it looks whether there is a newer
// keyring and calls Replace, and returns when that is done or its context ends. Anyone
// can send a token that names an unknown key, so reload limits its own rate.
func NewCurrent(ring *Keyring, reload func(context.Context)) *Current {
	c := &Current{reload: reload}
	c.ring.Store(ring)
	return c
}

// Ring returns the keyring in use.
func (c *Current) Ring() *Keyring { return c.ring.Load() }

// Signer returns the key that signs at a time, by the store's clock.
func (c *Current) Signer(now time.Time) *Key { return c.Ring().Signer(now) }

// Key returns the key with an id, after a look for a newer keyring if need be; nil
// if there is none.
func (c *Current) Key(ctx context.Context, id byte) *Key {
	if key := c.Ring().Key(id); key != nil || c.reload == nil {
		return key
	}
	c.reload(ctx)
	return c.Ring().Key(id)
}

// Replace puts next in the place of the keyring in use, or changes nothing and
// returns an error: next has another pepper, another key under an id in use, lacks
// a key whose tokens can still be alive at the time now, or brings back a key that
// was dropped.
func (c *Current) Replace(next *Keyring, now time.Time) error {
	if err := c.Ring().successor(next, now); err != nil {
		return err
	}
	c.ring.Store(next)
	return nil
}
