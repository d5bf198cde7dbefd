package keyring

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// RotateLead is how long a key is known before it signs, so that a keyring that is
	// copied to several machines has reached all of them.
	RotateLead = 5 * time.Minute
	// HastyLead is the same for a rotation that can't wait. It is not zero: servers
	// check the file each second and wait a second for it to settle, and a token of a
	// key that only some of them have read would be refused by the others.
	HastyLead = 3 * time.Second
	// spare is how much longer than MaxTokenLife a key is kept, and a dropped one
	// remembered, for servers that read the change late and for clocks that differ.
	// Without it, a server whose clock is behind would refuse the keyring.
	spare = time.Hour
)

// State says what a key is used for at some time.
type State string

// The states.
const (
	Waiting   State = "waiting"   // verifies, and will sign
	Signing   State = "signing"   // signs and verifies
	Verifying State = "verifying" // verifies the tokens it signed
	Prunable  State = "prunable"  // all its tokens have expired
)

// State returns the state of one of the keyring's keys.
func (r *Keyring) State(k *Key, now time.Time) State {
	switch i := slices.Index(r.keys, k); {
	case k == r.Signer(now):
		return Signing
	case k.SignsFrom.After(now):
		return Waiting
	case i < len(r.keys)-1 && allExpired(r.keys[i+1].SignsFrom, now):
		return Prunable
	}
	return Verifying
}

// allExpired reports whether every token of a key that stopped signing at ended has
// expired by now.
func allExpired(ended, now time.Time) bool { return !now.Before(ended.Add(MaxTokenLife + spare)) }

// Dropped returns the ids of the keys that were dropped and are still remembered.
func (r *Keyring) Dropped() []byte {
	var ids []byte
	for _, d := range r.dropped {
		ids = append(ids, d.id)
	}
	return ids
}

// DroppedAt returns when a key was dropped, and whether it was.
func (r *Keyring) DroppedAt(id byte) (time.Time, bool) {
	for _, d := range r.dropped {
		if d.id == id {
			return d.at, true
		}
	}
	return time.Time{}, false
}

// Rotate returns a keyring and its next signing key, a new one that signs after
// RotateLead.
//
// While a key is waiting to sign, another one makes no sense: the first would sign for
// minutes, and verify for a day. Rotate then returns an error unless insist is set, which
// makes the waiting key sign after HastyLead, as a new one would.
func (r *Keyring) Rotate(now time.Time, insist bool) (*Keyring, *Key, error) {
	now = now.UTC().Truncate(time.Second)
	lead := RotateLead
	if insist {
		lead = HastyLead
	}
	newest := r.keys[len(r.keys)-1]
	if r.State(newest, now) != Waiting {
		return r.with(now, now.Add(lead))
	}
	if !insist {
		return nil, nil, fmt.Errorf("key %d waits to sign already, from %s on: a rotation is under way. Wait for it, or let it sign at once with --now",
			newest.ID, newest.SignsFrom.Format(time.RFC3339))
	}
	if soon := now.Add(lead); soon.Before(newest.SignsFrom) {
		next := r.without(newest.ID)
		newest = newKey(newest.ID, newest.secret, newest.Created, soon, newest.others)
		next.add(newest)
		return next, newest, nil
	}
	return r, newest, nil
}

// Drop returns a keyring without a key, which invalidates its tokens. With replace, the
// keyring has a new key that signs after HastyLead, or at once if there is no other;
// without, the only key can't be dropped.
func (r *Keyring) Drop(id byte, now time.Time, replace bool) (next *Keyring, added *Key, err error) {
	now = now.UTC().Truncate(time.Second)
	if at, before := r.DroppedAt(id); before {
		return nil, nil, fmt.Errorf("key %d was dropped already, at %s", id, at.Format(time.RFC3339))
	}
	if r.Key(id) == nil {
		return nil, nil, fmt.Errorf("there is no key %d; there %s", id, r.listed())
	}
	if len(r.keys) == 1 && !replace {
		return nil, nil, fmt.Errorf("key %d is the only key, and without one nothing can be signed. Drop it with --replace, which adds a new key at the same time; or run authsvc keys rotate --now first", id)
	}
	next = r.without(id)
	next.drop(id, now)
	if replace {
		if next, added, err = next.withAfter(id, now, now.Add(HastyLead)); err != nil {
			return nil, nil, err
		}
	}
	return next, added, nil
}

// Prune returns a keyring without the keys whose tokens have all expired, which also
// forgets the dropped keys whose tokens have. Forgetting one earlier is not safe: a server
// that has not read the keyring since finds the key missing, and keeps the old keyring
// unless the key is listed as dropped.
func (r *Keyring) Prune(now time.Time) (next *Keyring, pruned, forgotten []byte) {
	next = r.copy()
	next.keys, next.dropped = nil, nil
	for _, k := range r.keys {
		if r.State(k, now) == Prunable {
			pruned = append(pruned, k.ID)
			next.index[k.ID] = nil
			continue
		}
		next.keys = append(next.keys, k)
	}
	for _, d := range r.dropped {
		if allExpired(d.at, now) {
			forgotten = append(forgotten, d.id)
			continue
		}
		next.dropped = append(next.dropped, d)
	}
	return next, pruned, forgotten
}

func (r *Keyring) copy() *Keyring {
	c := *r
	c.keys, c.dropped = slices.Clone(r.keys), slices.Clone(r.dropped)
	return &c
}

func (r *Keyring) without(id byte) *Keyring {
	c := r.copy()
	c.keys = slices.DeleteFunc(c.keys, func(k *Key) bool { return k.ID == id })
	c.index[id] = nil
	return c
}

// with returns a keyring with one more key, and that key.
func (r *Keyring) with(now, signsFrom time.Time) (*Keyring, *Key, error) {
	return r.withAfter(r.keys[len(r.keys)-1].ID, now, signsFrom)
}

// withAfter is like with, and searches for a free id after last. Ids wrap around, so that
// a used one is reused as late as possible. The id of a dropped key is not free: a server
// could mistake the new key for it.
func (r *Keyring) withAfter(last byte, now, signsFrom time.Time) (*Keyring, *Key, error) {
	id := last + 1 // 0 follows 255
	taken := r.Dropped()
	for ; r.Key(id) != nil || slices.Contains(taken, id); id++ {
		if id == last {
			return nil, nil, fmt.Errorf("all 256 key ids are taken. Run authsvc keys prune, which frees those whose tokens have expired")
		}
	}
	// A key from a clock that was ahead must not sign instead of this one.
	if n := len(r.keys); n > 0 && !signsFrom.After(r.keys[n-1].SignsFrom) {
		signsFrom = r.keys[n-1].SignsFrom.Add(time.Second)
	}
	next, k := r.copy(), freshKey(id, now, signsFrom)
	next.add(k)
	return next, k, nil
}

// listed returns "is key 1", or "are keys 1 and 2".
func (r *Keyring) listed() string {
	var ids []string
	for _, k := range r.keys {
		ids = append(ids, fmt.Sprint(k.ID))
	}
	if len(ids) == 1 {
		return "is key " + ids[0]
	}
	return "are keys " + strings.Join(ids[:len(ids)-1], ", ") + " and " + ids[len(ids)-1]
}
