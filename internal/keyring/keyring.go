package keyring

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"
	"time"

	"authsvc/internal/app"
)

// MaxTokenLife is the longest lifetime of a token that can be configured. If a key
// stopped signing longer ago than this, all its tokens have expired.
const MaxTokenLife = app.MaxTTL

// secretLen is the length of a signing key and of the pepper, in bytes: the
// output of SHA-256, as RFC 2104 section 3 recommends.
const secretLen = sha256.Size

// Key is one signing key. It is safe for concurrent use.
type Key struct {
	ID      byte
	Created time.Time
	// SignsFrom is when the key begins to sign, by the store's clock. A key is
	// distributed before it is used, so that every replica can verify what the first of
	// them signs.
	SignsFrom time.Time

	others members
	secret []byte
	macs   *sync.Pool // of *mac keyed with secret; resetting an HMAC is faster than making one
}

// mac is an HMAC with its input and output buffers: passed to the interface of the hash,
// local ones would escape to the heap each time.
type mac struct {
	hash.Hash
	message []byte
	sum     [sha256.Size]byte
}

func newKey(id byte, secret []byte, created, signsFrom time.Time, others members) *Key {
	return &Key{
		ID: id, Created: created, SignsFrom: signsFrom, others: others, secret: secret,
		macs: &sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, secret)} }},
	}
}

// freshKey returns a key with a new random secret.
func freshKey(id byte, created, signsFrom time.Time) *Key {
	secret := make([]byte, secretLen)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return newKey(id, secret, created, signsFrom, nil)
}

// MAC returns the HMAC-SHA-256 of a message under the key.
func (k *Key) MAC(message []byte) [sha256.Size]byte {
	m := k.macs.Get().(*mac)
	m.message = append(m.message[:0], message...)
	m.Reset()
	m.Write(m.message)
	m.Sum(m.sum[:0])
	sum := m.sum
	k.macs.Put(m)
	return sum
}

// Keyring holds the signing keys and the pepper of the apps' secrets. It is immutable.
type Keyring struct {
	pepper  app.Pepper
	keys    []*Key    // by SignsFrom, oldest first
	index   [256]*Key // by id
	dropped []dropped
	others  members
}

// dropped is a key that an operator removed although its tokens may still be valid.
type dropped struct {
	id     byte
	at     time.Time
	others members
}

// New returns a keyring with a new pepper and one new key, which signs from now on.
func New(now time.Time) *Keyring {
	var r Keyring
	_, _ = rand.Read(r.pepper[:]) // never fails (crypto/rand)
	now = now.UTC().Truncate(time.Second)
	r.add(freshKey(1, now, now))
	return &r
}

// Pepper returns the pepper of the apps' secrets.
func (r *Keyring) Pepper() app.Pepper { return r.pepper }

// Keys returns the signing keys, oldest first.
func (r *Keyring) Keys() []*Key { return slices.Clone(r.keys) }

func (r *Keyring) add(k *Key) {
	r.keys = append(r.keys, k)
	slices.SortStableFunc(r.keys, func(a, b *Key) int { return a.SignsFrom.Compare(b.SignsFrom) })
	r.index[k.ID] = k
}

// drop records that a key was dropped at a time.
func (r *Keyring) drop(id byte, at time.Time) {
	r.dropped = append(r.dropped, dropped{id: id, at: at})
}

// Key returns the key with an id, nil if there is none.
func (r *Keyring) Key(id byte) *Key { return r.index[id] }

// Signer returns the newest key that signs at the time now, by the store's clock. If
// there is none, because the clock is behind the one that made the first key, it returns
// the oldest.
func (r *Keyring) Signer(now time.Time) *Key {
	for _, k := range slices.Backward(r.keys) {
		if !k.SignsFrom.After(now) {
			return k
		}
	}
	return r.keys[0]
}

// successor returns an error unless next may replace r at the time now: it must have the
// same pepper and the same key for every id, it must hold every key whose tokens can
// still be valid unless that was dropped on purpose, and no dropped key may be back: an
// old copy of the file must not reactivate a leaked key.
func (r *Keyring) successor(next *Keyring, now time.Time) error {
	if next.pepper != r.pepper {
		return errors.New("the pepper is different, so no app's secret would match any more")
	}
	for i, k := range r.keys {
		n := next.Key(k.ID)
		_, dropped := next.DroppedAt(k.ID)
		switch {
		case n != nil && !bytes.Equal(n.secret, k.secret):
			return fmt.Errorf("key %d is a different key under the same id", k.ID)
		case n != nil || dropped:
		case i == len(r.keys)-1 || now.Before(r.keys[i+1].SignsFrom.Add(MaxTokenLife)):
			return fmt.Errorf("key %d is missing, but its tokens can still be valid", k.ID)
		}
	}
	for _, d := range r.dropped {
		if next.Key(d.id) != nil && now.Before(d.at.Add(MaxTokenLife)) {
			return fmt.Errorf("key %d was dropped, and this would bring it back", d.id)
		}
	}
	return nil
}
