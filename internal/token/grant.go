package token

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"authsvc/internal/keyring"
)

// MaxGrantLife is the maximum lifetime of a grant, however often it is refreshed.
const MaxGrantLife = 30 * 24 * time.Hour

// storeSlack is how much longer than its last token a record is kept. The store's expiry
// only collects garbage; the grant decides whether a token is valid.
const storeSlack = 10 * time.Minute

// Grant is what an app was granted, and the state of the rotation of its tokens. Expiries
// are in unix seconds, other times in unix milliseconds.
type Grant struct {
	AppKey      string
	Generation  uint32 // the app's, when it was granted
	Scope       string
	ThroughData string
	IssuedAt    int64

	// The current pair of tokens, which can be minted again from these fields.
	Serial         uint32
	KeyID          byte
	Rotated        int64 // when it was issued
	AccessExpires  int64
	RefreshExpires int64

	// From is the serial of the refresh token that the current pair was issued for, and
	// From1 that of the one before it; 0: none. Rotated1 is when From's pair was issued; for
	// the first pair, when the grant was.
	From, From1 uint32
	Rotated1    int64

	// LowestValid is the lowest serial of an access token that is still valid.
	LowestValid uint32
	// KeepUntil is the latest expiry of any token ever minted for the grant.
	KeepUntil int64

	// JumpedLow to JumpedHigh, which is not one of them, are the serials that the line went
	// on without, so that somebody else may hold their tokens in good faith; equal: none.
	JumpedLow, JumpedHigh uint32
}

// firstSerial is the serial of a new grant's pair.
const firstSerial = 1

// setPair makes the pair with a serial, issued at now, the current one. No token outlives
// the grant.
func (g *Grant) setPair(serial uint32, key *keyring.Key, now time.Time, ttl lifetimes) {
	issued := now.Unix()
	g.Serial, g.KeyID, g.Rotated = serial, key.ID, now.UnixMilli()
	g.AccessExpires = min(issued+int64(ttl.access/time.Second), g.end())
	g.RefreshExpires = min(issued+int64(ttl.refresh/time.Second), g.end())
	g.KeepUntil = max(g.KeepUntil, g.AccessExpires, g.RefreshExpires)
}

// claims returns the claims of the tokens of the current pair.
func (g *Grant) claims(id GrantID) (access, refresh Claims) {
	access = Claims{
		Kind: Access, KeyID: g.KeyID, IssuedAt: g.Rotated, ExpiresAt: g.AccessExpires,
		AppTag: TagOf(g.AppKey), Grant: id, Serial: g.Serial, GrantHash: g.hash(),
	}
	refresh = access
	refresh.Kind, refresh.ExpiresAt = Refresh, g.RefreshExpires
	return access, refresh
}

// renewAccess gives the current pair another access token, which lives from now.
func (g *Grant) renewAccess(now time.Time, ttl time.Duration) {
	longest := g.Rotated/1000 + int64(MaxTTL/time.Second) // a token says how long it lives since its pair was issued
	g.AccessExpires = min(now.Unix()+int64(ttl/time.Second), longest, g.end())
	g.KeepUntil = max(g.KeepUntil, g.AccessExpires)
}

// end returns when the grant ends, however often it is refreshed.
func (g *Grant) end() int64 { return g.IssuedAt/1000 + int64(MaxGrantLife/time.Second) }

// hash returns the hash that the tokens of the current pair carry.
func (g *Grant) hash() GrantHash { return hashOf(g.Scope, g.ThroughData) }

// jump notes that the line goes on without the serials from low to high, which is not one
// of them. What lies between two such jumps is noted with them.
func (g *Grant) jump(low, high uint32) {
	if g.JumpedLow == g.JumpedHigh {
		g.JumpedLow, g.JumpedHigh = low, high
	}
	g.JumpedLow, g.JumpedHigh = min(g.JumpedLow, low), max(g.JumpedHigh, high)
}

// provenApp returns the app of a token that names the grant. It returns "" if the grant is
// nil or can't have minted the token, which is then forged with a leaked key.
func (g *Grant) provenApp(t *Claims) string {
	if g == nil || t.AppTag != TagOf(g.AppKey) || t.forged(g) {
		return ""
	}
	return g.AppKey
}

// forged reports whether the grant can't have minted the token, whatever a store has lost: no
// grant is refreshed 2^32 times in its 30 days.
func (c *Claims) forged(g *Grant) bool {
	return c.Serial < firstSerial || c.Serial == math.MaxUint32 || c.IssuedAt < g.IssuedAt || c.ExpiresAt > g.end()
}

// outlives reports whether the token expires after everything that its grant ever minted,
// although its serial is known to the grant. Its refresh was lost by the store, and came
// to a process with longer lifetimes.
func (c *Claims) outlives(g *Grant) bool { return c.Serial <= g.Serial && c.ExpiresAt > g.KeepUntil }

// lost reports whether the refresh token, of a serial that is known to the grant, is of
// another line: the store lost the refresh that issued it, and the grant has gone on
// without it. The pairs of a line are told by their serials, and by when they were issued
// as far as the grant has that.
func (c *Claims) lost(g *Grant) bool {
	switch n := c.Serial; {
	case c.outlives(g):
		return true
	case n == g.Serial:
		return c.IssuedAt != g.Rotated
	case n == g.From:
		return c.IssuedAt != g.Rotated1
	default:
		return n > g.From1 || g.JumpedLow <= n && n < g.JumpedHigh
	}
}

// narrowedBy reports whether a rotation to next ends access tokens, or changes what the grant
// gives.
func (g *Grant) narrowedBy(next *Grant) bool {
	return next.LowestValid > g.LowestValid || next.Scope != g.Scope || next.ThroughData != g.ThroughData
}

// expireAt returns when the store may forget the grant.
func (g *Grant) expireAt() time.Time { return time.Unix(g.KeepUntil, 0).Add(storeSlack) }

// The record of a grant is a version byte, its fields in order, and a checksum: strings
// with a length prefix, the rest as unsigned varints. Lifetimes stand for the expiries of
// the current pair, and distances for the other times and for From; what heals jumped over
// is only there if it is not empty. JSON would not fit into 250 bytes a grant.
//
// The checksum is the CRC-32C of the grant's id and of everything before it, in four bytes.
// Of up to 650 bytes it finds every change of up to five bits, which no hash of that size
// promises; a record under another grant's id it misses once in 2^32. It takes a tenth of
// the time of SHA-256. Who can write to the store can compute either.
const (
	recordVersion = 2
	checksumLen   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of a record without one.
func checksum(id GrantID, b []byte) uint32 {
	sum := ^uint32(0)
	for _, x := range id { // by hand: crc32.Update would move the id to the heap
		sum = castagnoli[byte(sum)^x] ^ sum>>8
	}
	return crc32.Update(^sum, castagnoli, b)
}

// recordError is a record that this version can't read. It implies no verdict on a token:
// the answer is that the store is unavailable.
type recordError string

func (e recordError) Error() string { return "the record of a grant is unreadable: " + string(e) }

// encode returns the record of the grant with an id. Its error is a rangeError.
func (g *Grant) encode(id GrantID) ([]byte, error) {
	w := recordWriter{b: make([]byte, 0, 80+len(g.AppKey)+len(g.Scope)+len(g.ThroughData))}
	w.b = append(w.b, recordVersion)
	w.text(g.AppKey)
	w.text(g.Scope)
	w.text(g.ThroughData)
	w.number("a generation", int64(g.Generation), math.MaxUint32)
	w.number("an issue time", g.IssuedAt, maxMillis)
	w.number("a serial", int64(g.Serial), math.MaxUint32)
	w.number("a distance to the serial before", int64(g.Serial)-int64(g.From), int64(g.Serial))
	w.number("a distance to the serial before that", int64(g.From)-int64(g.From1), int64(g.From))
	w.number("a key id", int64(g.KeyID), math.MaxUint8)
	w.number("a rotation after the issue", g.Rotated-g.IssuedAt, maxMillis-g.IssuedAt)
	w.number("a rotation after the issue", g.Rotated1-g.IssuedAt, maxMillis-g.IssuedAt)
	w.number("a lifetime", g.AccessExpires-g.Rotated/1000, maxLifetime)
	w.number("a lifetime", g.RefreshExpires-g.Rotated/1000, maxLifetime)
	w.number("a time to keep", g.KeepUntil-max(g.AccessExpires, g.RefreshExpires), maxMillis/1000)
	w.number("a lowest serial", int64(g.LowestValid), math.MaxUint32)
	if g.JumpedLow != g.JumpedHigh {
		w.number("a serial that was jumped over", int64(g.JumpedLow), math.MaxUint32)
		w.number("a number of serials that were jumped over", int64(g.JumpedHigh)-int64(g.JumpedLow), math.MaxUint32-int64(g.JumpedLow))
	}
	if w.err != nil {
		return nil, w.err
	}
	return binary.BigEndian.AppendUint32(w.b, checksum(id, w.b)), nil
}

// decodeGrant parses what encode returns for the same id. Its error is a recordError.
func decodeGrant(id GrantID, b []byte) (Grant, error) {
	switch {
	case len(b) < 1+checksumLen:
		return Grant{}, recordError("it is cut off")
	case b[0] != recordVersion:
		return Grant{}, recordError(fmt.Sprintf("version %d is not known", b[0]))
	}
	fields, sum := b[:len(b)-checksumLen], b[len(b)-checksumLen:]
	if binary.BigEndian.Uint32(sum) != checksum(id, fields) {
		return Grant{}, recordError("its checksum is wrong: it is damaged, or another grant's")
	}
	r := recordReader{rest: fields[1:]}
	g := Grant{AppKey: r.text(), Scope: r.text(), ThroughData: r.text()}
	g.Generation = uint32(r.number(math.MaxUint32))
	g.IssuedAt = r.number(maxMillis)
	g.Serial = uint32(r.number(math.MaxUint32))
	g.From = g.Serial - uint32(r.number(int64(g.Serial)))
	g.From1 = g.From - uint32(r.number(int64(g.From)))
	g.KeyID = byte(r.number(math.MaxUint8))
	g.Rotated = g.IssuedAt + r.number(maxMillis-g.IssuedAt)
	g.Rotated1 = g.IssuedAt + r.number(maxMillis-g.IssuedAt)
	g.AccessExpires = g.Rotated/1000 + r.number(maxLifetime)
	g.RefreshExpires = g.Rotated/1000 + r.number(maxLifetime)
	g.KeepUntil = max(g.AccessExpires, g.RefreshExpires) + r.number(maxMillis/1000)
	g.LowestValid = uint32(r.number(math.MaxUint32))
	if len(r.rest) > 0 {
		g.JumpedLow = uint32(r.number(math.MaxUint32))
		g.JumpedHigh = g.JumpedLow + uint32(r.number(math.MaxUint32-int64(g.JumpedLow)))
		r.bad = r.bad || g.JumpedLow == g.JumpedHigh
	}
	switch {
	case r.bad:
		return Grant{}, recordError("a field is cut off or out of range")
	case len(r.rest) > 0:
		return Grant{}, recordError("something follows its end")
	}
	return g, nil
}

// recordWriter appends the fields of a record, and remembers the first that it can't.
type recordWriter struct {
	b   []byte
	err error
}

func (w *recordWriter) number(field string, n, most int64) {
	if (n < 0 || n > most) && w.err == nil {
		w.err = rangeError{field, n}
	}
	w.b = binary.AppendUvarint(w.b, uint64(n))
}

func (w *recordWriter) text(s string) {
	w.number("the length of a text", int64(len(s)), math.MaxUint16)
	w.b = append(w.b, s...)
}

// recordReader reads the fields of a record in order, and remembers whether one was bad.
type recordReader struct {
	rest []byte
	bad  bool
}

func (r *recordReader) number(most int64) int64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > uint64(most) {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return int64(n)
}

func (r *recordReader) text() string {
	n := r.number(math.MaxUint16)
	if n > int64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
