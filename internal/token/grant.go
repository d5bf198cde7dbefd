package token

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"authsvc/internal/keyring"
)

// MaxGrantLife is the maximum lifetime of a grant, however often it is refreshed.
const MaxGrantLife = 30 * 24 * time.Hour

// storeSlack is how much longer than its last token a record is kept. The store's expiry
// only collects garbage; the grant decides whether a token is valid.
const storeSlack = 10 * time.Minute

// Grant is what an app was granted, and the state of the rotation of its tokens. Times
// are in unix seconds unless noted otherwise.
type Grant struct {
	AppKey      string
	Generation  uint32 // the app's, when it was granted
	Scope       string
	ThroughData string
	IssuedAt    int64

	// The current pair of tokens, which can be minted again from these fields.
	Serial         uint32
	KeyID          byte
	AccessExpires  int64
	RefreshExpires int64

	// Rotated is when the grant went from serial-1 to serial, and Rotated1 when it went
	// from serial-2 to serial-1, in unix milliseconds; 0: never.
	Rotated, Rotated1 int64

	// LowestValid is the lowest serial of an access token that is still valid.
	LowestValid uint32
	// KeepUntil is the latest expiry of any token ever minted for the grant.
	KeepUntil int64
}

// firstSerial is the serial of a new grant's pair.
const firstSerial = 1

// pairIssuedAt returns when the current pair was issued.
func (g *Grant) pairIssuedAt() int64 {
	if g.Rotated == 0 {
		return g.IssuedAt
	}
	return g.Rotated / 1000
}

// setPair makes the pair with a serial, issued at now, the current one. No token outlives
// the grant.
func (g *Grant) setPair(serial uint32, key *keyring.Key, now time.Time, ttl lifetimes) {
	issued := now.Unix()
	end := g.IssuedAt + int64(MaxGrantLife/time.Second)
	g.Serial, g.KeyID = serial, key.ID
	g.AccessExpires = min(issued+int64(ttl.access/time.Second), end)
	g.RefreshExpires = min(issued+int64(ttl.refresh/time.Second), end)
	g.KeepUntil = max(g.KeepUntil, g.AccessExpires, g.RefreshExpires)
}

// claims returns the claims of the current pair's token of a kind.
func (g *Grant) claims(kind Kind, id GrantID) Claims {
	expires := g.AccessExpires
	if kind == Refresh {
		expires = g.RefreshExpires
	}
	return Claims{
		Kind: kind, KeyID: g.KeyID, ExpiresAt: expires, Lifetime: expires - g.pairIssuedAt(),
		AppTag: TagOf(g.AppKey), Grant: id, Serial: g.Serial,
	}
}

// provenApp returns the app of a token that names the grant. It returns "" if the grant is
// nil or did not mint the token, which is then forged with a leaked key.
func (g *Grant) provenApp(t *Claims) string {
	if g == nil || t.AppTag != TagOf(g.AppKey) || t.outlives(g) {
		return ""
	}
	return g.AppKey
}

// outlives reports whether a token expires after everything that its grant ever minted,
// although its serial is known to the grant. It is then forged with a leaked key.
func (c *Claims) outlives(g *Grant) bool { return c.Serial <= g.Serial && c.ExpiresAt > g.KeepUntil }

// expireAt returns when the store may forget the grant.
func (g *Grant) expireAt() time.Time { return time.Unix(g.KeepUntil, 0).Add(storeSlack) }

// The record of a grant is a version byte and its fields in order: strings with a length
// prefix, the rest as unsigned varints; the three expiries relative to issued-at. JSON
// would not fit into 250 bytes a grant.
const recordVersion = 1

// recordError is a record that this version can't read. It implies no verdict on a token:
// the answer is that the store is unavailable.
type recordError string

func (e recordError) Error() string { return "the record of a grant is unreadable: " + string(e) }

// encode returns the record of the grant.
func (g *Grant) encode() []byte {
	b := make([]byte, 0, 64+len(g.AppKey)+len(g.Scope)+len(g.ThroughData))
	b = append(b, recordVersion)
	for _, s := range [...]string{g.AppKey, g.Scope, g.ThroughData} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, n := range [...]uint64{
		uint64(g.Generation), uint64(g.IssuedAt), uint64(g.Serial), uint64(g.KeyID),
		uint64(g.AccessExpires - g.IssuedAt), uint64(g.RefreshExpires - g.IssuedAt), uint64(g.KeepUntil - g.IssuedAt),
		uint64(g.Rotated), uint64(g.Rotated1), uint64(g.LowestValid),
	} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// decodeGrant parses what encode returns. Its error is a recordError.
func decodeGrant(b []byte) (Grant, error) {
	if len(b) == 0 {
		return Grant{}, recordError("it is empty")
	}
	if b[0] != recordVersion {
		return Grant{}, recordError(fmt.Sprintf("version %d is not known", b[0]))
	}
	r := recordReader{rest: b[1:]}
	g := Grant{AppKey: r.text(), Scope: r.text(), ThroughData: r.text()}
	g.Generation = uint32(r.number(math.MaxUint32))
	g.IssuedAt = int64(r.number(math.MaxUint32))
	g.Serial = uint32(r.number(math.MaxUint32))
	g.KeyID = byte(r.number(math.MaxUint8))
	g.AccessExpires = g.IssuedAt + int64(r.number(math.MaxUint32))
	g.RefreshExpires = g.IssuedAt + int64(r.number(math.MaxUint32))
	g.KeepUntil = g.IssuedAt + int64(r.number(math.MaxUint32))
	g.Rotated = int64(r.number(math.MaxUint32 * 1000))
	g.Rotated1 = int64(r.number(math.MaxUint32 * 1000))
	g.LowestValid = uint32(r.number(math.MaxUint32))
	switch {
	case r.bad:
		return Grant{}, recordError("a field is cut off or out of range")
	case len(r.rest) > 0:
		return Grant{}, recordError("something follows its end")
	}
	return g, nil
}

// recordReader reads the fields of a record in order, and remembers whether one was bad.
type recordReader struct {
	rest []byte
	bad  bool
}

func (r *recordReader) number(most uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > most {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *recordReader) text() string {
	n := r.number(math.MaxUint16)
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
