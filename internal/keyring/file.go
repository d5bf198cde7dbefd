package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strings"
	"time"

	"authsvc/internal/wholefile"
)

// file is the content of the keyring file. Members that this version does not know are
// kept, in each of its objects: a later release may have written them. One that changes
// the meaning of the others comes with another version.
type file struct {
	Version int                   `json:"version"`
	Pepper  []byte                `json:"pepper"`
	Keys    []object[fileKey]     `json:"keys"`
	Dropped []object[fileDropped] `json:"dropped,omitempty"`
}

type fileKey struct {
	ID        int       `json:"id"`
	Secret    []byte    `json:"secret"`
	Created   time.Time `json:"created"`
	SignsFrom time.Time `json:"signs_from"`
}

// fileDropped is a dropped key, which no longer has a secret. The time at which it was
// dropped determines how long its id must be remembered: as long as its tokens could have
// been valid.
type fileDropped struct {
	ID int       `json:"id"`
	At time.Time `json:"at"`
}

const fileVersion = 1

// object is a JSON object with the members of T, and others.
type object[T any] struct {
	known  T
	others members
}

// members are members of a JSON object that this version does not know.
type members map[string]json.RawMessage

// UnmarshalJSON implements json.Unmarshaler.
func (o *object[T]) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &o.known); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &o.others); err != nil {
		return err
	}
	for f := range reflect.TypeFor[T]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		maps.DeleteFunc(o.others, func(other string, _ json.RawMessage) bool { return strings.EqualFold(other, name) })
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (o object[T]) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(o.known)
	if err != nil || len(o.others) == 0 {
		return b, err
	}
	others, err := json.Marshal(o.others)
	if err != nil {
		return nil, err
	}
	b[len(b)-1] = ','
	return append(b, others[1:]...), nil
}

// Parse parses what Keyring.Marshal returns. Its errors do not quote the data.
func Parse(data []byte) (*Keyring, error) {
	var content object[file]
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&content); err != nil {
		return nil, errors.New("not a keyring: not the JSON that authsvc keys init writes")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("not a keyring: something follows its end")
	}
	f, r := content.known, &Keyring{others: content.others}
	switch {
	case f.Version != fileVersion:
		return nil, fmt.Errorf("keyring version %d is not one this authsvc reads (%d)", f.Version, fileVersion)
	case len(f.Pepper) != secretLen:
		return nil, fmt.Errorf("the pepper has %d bytes instead of %d", len(f.Pepper), secretLen)
	case len(f.Keys) == 0:
		return nil, errors.New("the keyring has no key")
	}
	copy(r.pepper[:], f.Pepper)
	for _, o := range f.Keys {
		k := o.known
		switch {
		case k.ID < 0 || k.ID > 255:
			return nil, fmt.Errorf("key id %d is not one from 0 to 255", k.ID)
		case r.Key(byte(k.ID)) != nil:
			return nil, fmt.Errorf("duplicate key id %d", k.ID)
		case len(k.Secret) != secretLen:
			return nil, fmt.Errorf("key %d has %d bytes instead of %d", k.ID, len(k.Secret), secretLen)
		case k.SignsFrom.IsZero():
			return nil, fmt.Errorf("key %d does not say from when it signs", k.ID)
		}
		r.add(newKey(byte(k.ID), k.Secret, k.Created, k.SignsFrom, o.others))
	}
	for _, o := range f.Dropped {
		d := o.known
		_, before := r.DroppedAt(byte(d.ID))
		switch {
		case d.ID < 0 || d.ID > 255 || r.Key(byte(d.ID)) != nil:
			return nil, fmt.Errorf("dropped key %d is in the keyring, or is no key id", d.ID)
		case before:
			return nil, fmt.Errorf("duplicate dropped key %d", d.ID)
		case d.At.IsZero():
			return nil, fmt.Errorf("dropped key %d does not say when it was dropped", d.ID)
		}
		r.dropped = append(r.dropped, dropped{byte(d.ID), d.At, o.others})
	}
	return r, nil
}

// Marshal returns the content of the keyring's file, including secrets.
func (r *Keyring) Marshal() []byte {
	f := file{Version: fileVersion, Pepper: r.pepper[:]}
	for _, k := range r.keys {
		f.Keys = append(f.Keys, object[fileKey]{fileKey{ID: int(k.ID), Secret: k.secret, Created: k.Created, SignsFrom: k.SignsFrom}, k.others})
	}
	for _, d := range r.dropped {
		f.Dropped = append(f.Dropped, object[fileDropped]{fileDropped{ID: int(d.id), At: d.at}, d.others})
	}
	b, err := json.MarshalIndent(object[file]{f, r.others}, "", "  ")
	if err != nil {
		panic(err) // none of its fields can fail
	}
	return append(b, '\n')
}

// CreateFile writes the keyring to a new file that only its owner can read. The file
// appears whole or not at all. If there is one already, the error is fs.ErrExist:
// overwriting a keyring would invalidate every token and every secret.
func (r *Keyring) CreateFile(path string) error {
	if err := wholefile.Create(path, r.Marshal(), 0o600); err != nil {
		return fmt.Errorf("the keyring: %w", err)
	}
	return nil
}

// maxFileSize is the maximum size of a keyring file, in bytes. 255 keys take 40 kB.
const maxFileSize = 1 << 20

// Read reads a keyring file. It returns the operating system's error, or what is wrong
// with the content.
func Read(path string) (*Keyring, error) {
	b, err := wholefile.Read(path, maxFileSize)
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	r, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("keyring %s: %w", path, err)
	}
	return r, nil
}

// Rewrite replaces the keyring in a file with what edit returns for it, whole or not at
// all. An edit that fails, or returns what it was given, changes nothing. Mode and owner
// are kept. Only one edit can run at a time.
func Rewrite(path string, edit func(*Keyring) (*Keyring, error)) error {
	err := wholefile.Rewrite(path, func(was []byte) ([]byte, error) {
		ring, err := Parse(was)
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
