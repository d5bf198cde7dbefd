package token

import (
	"errors"
	"sync/atomic"
	"time"
)

// Keys is the keyring in use. It is safe for concurrent use.
type Keys struct {
	ring   atomic.Pointer[Keyring]
	reread func()
}

// NewKeys returns the keyring in use. reread, which may be nil, is called when a
// token names a key that the keyring lacks: it looks whether there is a newer
// keyring and calls Replace. Anyone can send such a token, so it limits its own rate.
func NewKeys(ring *Keyring, reread func()) *Keys {
	k := &Keys{reread: reread}
	k.ring.Store(ring)
	return k
}

// Ring is the keyring in use now.
func (k *Keys) Ring() *Keyring { return k.ring.Load() }

// Signing is the key that signs at a time, by the store's clock.
func (k *Keys) Signing(now time.Time) *Key { return k.Ring().signer(now) }

// Replace puts a keyring in the place of the present one, or changes nothing and
// returns an error: the new one has another pepper, another key under an id in
// use, or lacks a key whose tokens can still be alive at the time now.
func (k *Keys) Replace(next *Keyring, now time.Time) error {
	if err := k.Ring().successor(next, now); err != nil {
		return err
	}
	k.ring.Store(next)
	return nil
}

// byID returns a key, after a look for a newer keyring if need be; nil if there is none.
func (k *Keys) byID(id byte) *Key {
	if key := k.Ring().byID(id); key != nil || k.reread == nil {
		return key
	}
	k.reread()
	return k.Ring().byID(id)
}

// parse is the codec's, after a look for a newer keyring if need be.
func (k *Keys) parse(s string, want Kind) (Claims, error) {
	c, err := parse(s, want, k.Ring())
	if errors.Is(err, errUnknownKey) && k.reread != nil {
		k.reread()
		c, err = parse(s, want, k.Ring())
	}
	return c, err
}
