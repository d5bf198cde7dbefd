package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"authsvc/internal/app"
	"authsvc/internal/wholefile"
)

// MaxTokenLife is the longest life of a token that can be configured. A key that
// stopped signing longer ago than this has no living token.
const MaxTokenLife = 72000 * time.Second

// secretLen is the length of a signing key and of the pepper, in bytes: the
// output of SHA-256, as RFC 2104 section 3 recommends.
const secretLen = sha256.Size

// Key is one signing key.
type Key struct {
	ID      byte
	Created time.Time
	// SignsFrom is when the key begins to sign, by the store's clock. A key
	// is made known before it is used, so that every replica can verify what
	// the first of them signs.
	SignsFrom time.Time

	secret []byte
	macs   *sync.Pool // of hash.Hash keyed with secret; an HMAC resets faster than it is made
}

func newKey(id byte, secret []byte, created, signsFrom time.Time) *Key {
	return &Key{
		ID: id, Created: created, SignsFrom: signsFrom, secret: secret,
		macs: &sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }},
	}
}

// freshKey makes a key with a secret that nobody has seen before.
func freshKey(id byte, created, signsFrom time.Time) *Key {
	secret := make([]byte, secretLen)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return newKey(id, secret, created, signsFrom)
}

// sign puts the MAC of a token body into mac, cut to its length.
func (k *Key) sign(kind Kind, body, mac []byte) {
	h := k.macs.Get().(hash.Hash)
	h.Reset()
	var first [1 + bodyLen]byte
	first[0] = byte(kind)
	copy(first[1:], body)
	h.Write(first[:])
	var sum [sha256.Size]byte
	copy(mac, h.Sum(sum[:0]))
	k.macs.Put(h)
}

// Keyring is the signing keys, and the pepper of the apps' secrets. It is never
// changed once it is made.
type Keyring struct {
	pepper app.Pepper
	keys   []*Key    // by SignsFrom, oldest first
	index  [256]*Key // by id
	// dropped are the ids of keys that an operator took out though their
	// tokens may still be alive, and droppedAt is when, by id.
	dropped   []byte
	droppedAt [256]time.Time
}

// NewKeyring makes a keyring with a fresh pepper and one fresh key that signs
// from now on.
func NewKeyring(now time.Time) *Keyring {
	var r Keyring
	_, _ = rand.Read(r.pepper[:]) // never fails (crypto/rand)
	now = now.UTC().Truncate(time.Second)
	r.add(freshKey(1, now, now))
	return &r
}

// Pepper is the pepper of the apps' secrets.
func (r *Keyring) Pepper() app.Pepper { return r.pepper }

// Keys are the signing keys, oldest first.
func (r *Keyring) Keys() []*Key { return slices.Clone(r.keys) }

func (r *Keyring) add(k *Key) {
	r.keys = append(r.keys, k)
	slices.SortStableFunc(r.keys, func(a, b *Key) int { return a.SignsFrom.Compare(b.SignsFrom) })
	r.index[k.ID] = k
}

// drop notes that a key was taken out at a time.
func (r *Keyring) drop(id byte, at time.Time) {
	r.dropped = append(r.dropped, id)
	r.droppedAt[id] = at
}

func (r *Keyring) byID(id byte) *Key { return r.index[id] }

// signer is the newest key whose time to sign has come. Where it has come for
// none (a clock behind the one that made the first key), the oldest signs.
func (r *Keyring) signer(now time.Time) *Key {
	for _, k := range slices.Backward(r.keys) {
		if !k.SignsFrom.After(now) {
			return k
		}
	}
	return r.keys[0]
}

// successor checks that next may take the place of r at a time: it has the same
// pepper, no id stands for another key, every key whose tokens can still be
// alive is in it, or was dropped on purpose, and no key that was dropped is back:
// an old copy of the file must not bring a leaked key to life again.
func (r *Keyring) successor(next *Keyring, now time.Time) error {
	if next.pepper != r.pepper {
		return errors.New("the pepper is another, so no app's secret would fit any more")
	}
	for i, k := range r.keys {
		n := next.byID(k.ID)
		switch {
		case n != nil && !bytes.Equal(n.secret, k.secret):
			return fmt.Errorf("key %d is another key under the same id", k.ID)
		case n != nil || slices.Contains(next.dropped, k.ID):
		case i == len(r.keys)-1 || now.Before(r.keys[i+1].SignsFrom.Add(MaxTokenLife)):
			return fmt.Errorf("key %d is missing, and its tokens can still be alive", k.ID)
		}
	}
	for _, id := range r.dropped {
		if next.byID(id) != nil && now.Before(r.droppedAt[id].Add(MaxTokenLife)) {
			return fmt.Errorf("key %d was dropped, and this would bring it back", id)
		}
	}
	return nil
}

// The keyring file. Unknown fields are refused: a field that this version does
// not know may change what the keys mean.
type keyringFile struct {
	Version int           `json:"version"`
	Pepper  []byte        `json:"pepper"`
	Keys    []keyFile     `json:"keys"`
	Dropped []droppedFile `json:"dropped,omitempty"`
}

type keyFile struct {
	ID        int       `json:"id"`
	Secret    []byte    `json:"secret"`
	Created   time.Time `json:"created"`
	SignsFrom time.Time `json:"signs_from"`
}

// A dropped key has no secret any more. When it was dropped tells until when its
// tokens could have lived, and so for how long its id must be remembered.
type droppedFile struct {
	ID int       `json:"id"`
	At time.Time `json:"at"`
}

const keyringVersion = 1

// ParseKeyring reads what Keyring.Marshal writes. No error quotes the data.
func ParseKeyring(data []byte) (*Keyring, error) {
	var f keyringFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, errors.New("not a keyring: not the JSON that authsvc keys init writes")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("not a keyring: something follows its end")
	}
	r := &Keyring{}
	switch {
	case f.Version != keyringVersion:
		return nil, fmt.Errorf("keyring version %d is not one this authsvc reads (%d)", f.Version, keyringVersion)
	case len(f.Pepper) != secretLen:
		return nil, fmt.Errorf("the pepper has %d bytes instead of %d", len(f.Pepper), secretLen)
	case len(f.Keys) == 0:
		return nil, errors.New("the keyring has no key")
	}
	copy(r.pepper[:], f.Pepper)
	for _, k := range f.Keys {
		switch {
		case k.ID < 0 || k.ID > 255:
			return nil, fmt.Errorf("key id %d is not within 0 to 255", k.ID)
		case r.byID(byte(k.ID)) != nil:
			return nil, fmt.Errorf("key id %d stands twice", k.ID)
		case len(k.Secret) != secretLen:
			return nil, fmt.Errorf("key %d has %d bytes instead of %d", k.ID, len(k.Secret), secretLen)
		case k.SignsFrom.IsZero():
			return nil, fmt.Errorf("key %d does not say from when it signs", k.ID)
		}
		r.add(newKey(byte(k.ID), k.Secret, k.Created, k.SignsFrom))
	}
	for _, d := range f.Dropped {
		switch {
		case d.ID < 0 || d.ID > 255 || r.byID(byte(d.ID)) != nil:
			return nil, fmt.Errorf("dropped key %d is in the keyring, or is no key id", d.ID)
		case slices.Contains(r.dropped, byte(d.ID)):
			return nil, fmt.Errorf("dropped key %d stands twice", d.ID)
		case d.At.IsZero():
			return nil, fmt.Errorf("dropped key %d does not say when it was dropped", d.ID)
		}
		r.drop(byte(d.ID), d.At)
	}
	return r, nil
}

// Marshal is the keyring as its file has it. It holds secrets.
func (r *Keyring) Marshal() []byte {
	f := keyringFile{Version: keyringVersion, Pepper: r.pepper[:]}
	for _, k := range r.keys {
		f.Keys = append(f.Keys, keyFile{ID: int(k.ID), Secret: k.secret, Created: k.Created, SignsFrom: k.SignsFrom})
	}
	for _, id := range r.dropped {
		f.Dropped = append(f.Dropped, droppedFile{ID: int(id), At: r.droppedAt[id]})
	}
	b, err := json.MarshalIndent(&f, "", "  ")
	if err != nil {
		panic(err) // no field of it can fail
	}
	return append(b, '\n')
}

// CreateFile writes the keyring to a new file that only its owner may read. It
// fails with fs.ErrExist where there is one: a keyring that is overwritten ends
// every token and every secret. The file appears whole or not at all.
func (r *Keyring) CreateFile(path string) error {
	if err := wholefile.Create(path, r.Marshal(), 0o600); err != nil {
		return fmt.Errorf("the keyring: %w", err)
	}
	return nil
}

// ReadKeyring reads a keyring file.
func ReadKeyring(path string) (*Keyring, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	r, err := ParseKeyring(b)
	if err != nil {
		return nil, fmt.Errorf("keyring %s: %w", path, err)
	}
	return r, nil
}

// RewriteKeyring changes a keyring file: edit gets what it holds, and what edit
// returns takes its place, whole or not at all. An edit that fails, or returns
// what it was given, leaves the file as it is. Mode and owner are kept, and one
// edit at a time gets through.
func RewriteKeyring(path string, edit func(*Keyring) (*Keyring, error)) error {
	err := wholefile.Rewrite(path, func(was []byte) ([]byte, error) {
		ring, err := ParseKeyring(was)
		if err != nil {
			return nil, err
		}
		next, err := edit(ring)
		if err != nil {
			return nil, err
		}
		if next == ring {
			return was, nil
		}
		return next.Marshal(), nil
	})
	if err != nil {
		return fmt.Errorf("keyring %s: %w", path, err)
	}
	return nil
}
