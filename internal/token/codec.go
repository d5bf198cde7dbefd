package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"authsvc/internal/keyring"
)

// Kind says whether a token is an access token or a refresh token.
type Kind byte

// The kinds; each is the first letter of its tokens.
const (
	Access  Kind = 'a'
	Refresh Kind = 'r'
)

// A token is its kind ("at_" or "rt_") and the base64url encoding of 57 bytes, with all
// numbers big-endian:
//
//	version 1 | key id 1 | issue time 6 | lifetime 3 | app tag 4 | grant id 16 | serial 4 | grant hash 4 | MAC 18
//
// The issue time is in unix milliseconds, so until the year 10889, and the lifetime in
// seconds; the expiry is their sum, in whole seconds. So no two of these fields can
// disagree. The MAC is HMAC-SHA-256 over the kind and everything before the MAC, cut to
// 18 bytes: a token that can't be guessed needs 16 (RFC 6749 section 10.10), and 57 bytes
// need no padding.
const (
	tokenVersion = 2

	bodyLen  = 1 + 1 + 6 + 3 + 4 + 16 + 4 + 4
	macLen   = 18
	rawLen   = bodyLen + macLen
	TokenLen = 3 + rawLen*4/3 // TokenLen is the length of every token, in bytes.

	maxMillis   = 1<<48 - 1 // the largest issue time
	maxLifetime = 1<<24 - 1 // the longest lifetime
)

// GrantID identifies a grant: 16 random bytes. It is half of what is needed to forge a
// token (the signing key is the other half), so it goes to the store and nowhere else.
type GrantID [16]byte

// AppTag is the first 4 bytes of the SHA-256 of an AppKey. It rejects most tokens of
// other apps without calling the store. Two keys can have the same tag, so the app of the
// grant decides.
type AppTag [4]byte

// TagOf returns the tag of an AppKey.
func TagOf(appKey string) AppTag {
	sum := sha256.Sum256([]byte(appKey))
	return AppTag(sum[:4])
}

// GrantHash is the first 4 bytes of a SHA-256 over a grant's scope and through_data. It
// tells a token that was issued with others from those of its grant.
type GrantHash [4]byte

// hashOf returns the hash of a scope and a through_data. Each stands behind its length, so
// that no two pairs are the same bytes.
func hashOf(scope, throughData string) GrantHash {
	var stack [128]byte
	b := stack[:0]
	for _, s := range [...]string{scope, throughData} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return GrantHash(sum[:4])
}

// Claims holds what a token says about itself.
type Claims struct {
	Kind      Kind
	KeyID     byte
	IssuedAt  int64 // unix milliseconds
	ExpiresAt int64 // unix seconds
	AppTag    AppTag
	Grant     GrantID
	Serial    uint32
	GrantHash GrantHash
}

// Lifetime returns how long the token lives from its issue, in seconds.
func (c *Claims) Lifetime() int64 { return c.ExpiresAt - c.IssuedAt/1000 }

// Expired reports whether the token has expired: it is valid before its expiry, not at it.
func (c *Claims) Expired(now time.Time) bool { return now.Unix() >= c.ExpiresAt }

// JTI returns an identifier of the token that can be shown and logged: a hash, which does
// not reveal the grant's id.
func (c *Claims) JTI() string {
	var b [1 + 16 + 4]byte
	b[0] = byte(c.Kind)
	copy(b[1:], c.Grant[:])
	binary.BigEndian.PutUint32(b[17:], c.Serial)
	sum := sha256.Sum256(b[:])
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// codecError says why a string is not a valid token. It is internal: callers learn only
// that the token is invalid.
type codecError string

func (e codecError) Error() string { return string(e) }

const (
	errMalformed  codecError = "the token is malformed"
	errUnknownKey codecError = "the token is signed with a key that is not in the keyring"
	errForged     codecError = "the signature of the token is wrong"
	errKind       codecError = "the token is of the other kind"
)

// otherKind is errKind for a token that is correctly signed.
type otherKind struct{ claims Claims }

// Error returns the text of errKind.
func (e otherKind) Error() string { return errKind.Error() }

// Unwrap returns errKind.
func (e otherKind) Unwrap() error { return errKind }

var b64 = base64.RawURLEncoding.Strict()

// rangeError is a value that its field in a token or a record can't hold. It is refused
// before anything is written, and never cut to fit.
type rangeError struct {
	field string
	value int64
}

func (e rangeError) Error() string { return fmt.Sprintf("%s of %d can't be encoded", e.field, e.value) }

// mint encodes and signs a token. The same claims and key give the same token. Its error
// is a rangeError.
func mint(c *Claims, key *keyring.Key) (string, error) {
	switch life := c.Lifetime(); {
	case c.IssuedAt < 0 || c.IssuedAt > maxMillis:
		return "", rangeError{"an issue time", c.IssuedAt}
	case life < 0 || life > maxLifetime:
		return "", rangeError{"a lifetime", life}
	}
	var raw [rawLen]byte
	body := append(raw[:0], tokenVersion, key.ID)
	body = appendNumber(body, uint64(c.IssuedAt), 6)
	body = appendNumber(body, uint64(c.Lifetime()), 3)
	body = append(body, c.AppTag[:]...)
	body = append(body, c.Grant[:]...)
	body = appendNumber(body, uint64(c.Serial), 4)
	body = append(body, c.GrantHash[:]...)
	mac := sign(c.Kind, body, key)
	copy(raw[bodyLen:], mac[:])

	var out [TokenLen]byte
	out[0], out[1], out[2] = byte(c.Kind), 't', '_'
	b64.Encode(out[3:], raw[:])
	return string(out[:]), nil
}

// appendNumber appends the last size bytes of a number.
func appendNumber(b []byte, n uint64, size int) []byte {
	var all [8]byte
	binary.BigEndian.PutUint64(all[:], n)
	return append(b, all[8-size:]...)
}

// number returns the number in a field.
func number(field []byte) int64 {
	var n int64
	for _, b := range field {
		n = n<<8 | int64(b)
	}
	return n
}

// sign returns the MAC of a token's body under a key.
func sign(kind Kind, body []byte, key *keyring.Key) [macLen]byte {
	var message [1 + bodyLen]byte
	message[0] = byte(kind)
	copy(message[1:], body)
	mac := key.MAC(message[:])
	return [macLen]byte(mac[:macLen])
}

// unpack checks the form of a token, and fills raw with its bytes.
func unpack(s string, raw *[rawLen]byte) (Kind, error) {
	if len(s) != TokenLen || s[1] != 't' || s[2] != '_' || (s[0] != byte(Access) && s[0] != byte(Refresh)) {
		return 0, errMalformed
	}
	var text [TokenLen - 3]byte
	copy(text[:], s[3:])
	// The decoder skips line breaks, so check how much it wrote.
	if n, err := b64.Decode(raw[:], text[:]); err != nil || n != rawLen || raw[0] != tokenVersion {
		return 0, errMalformed
	}
	return Kind(s[0]), nil
}

// read returns the claims in the bytes of a token.
func read(kind Kind, raw *[rawLen]byte) Claims {
	issued := number(raw[2:8])
	return Claims{
		Kind:      kind,
		KeyID:     raw[1],
		IssuedAt:  issued,
		ExpiresAt: issued/1000 + number(raw[8:11]),
		AppTag:    AppTag(raw[11:15]),
		Grant:     GrantID(raw[15:31]),
		Serial:    uint32(number(raw[31:35])),
		GrantHash: GrantHash(raw[35:39]),
	}
}

// keys is where parse looks up a token's key: a keyring, or the current one, which checks
// for a newer keyring before it returns nil.
type keys interface {
	Key(ctx context.Context, id byte) *keyring.Key
}

// only is a keyring that is never reloaded.
type only struct{ *keyring.Keyring }

// Key implements keys.
func (o only) Key(_ context.Context, id byte) *keyring.Key { return o.Keyring.Key(id) }

// parse decodes a token of one kind and verifies it, cheapest check first: form, key id,
// MAC, kind. The claims that it returns are signed; the caller must check the expiry and
// the app. ctx bounds the check for a newer keyring.
func parse(ctx context.Context, s string, want Kind, ring keys) (Claims, error) {
	var raw [rawLen]byte
	kind, err := unpack(s, &raw)
	if err != nil {
		return Claims{}, err
	}
	key := ring.Key(ctx, raw[1])
	if key == nil {
		return Claims{}, errUnknownKey
	}
	mac := sign(kind, raw[:bodyLen], key)
	if !hmac.Equal(mac[:], raw[bodyLen:]) {
		return Claims{}, errForged
	}
	if kind != want {
		return Claims{}, otherKind{read(kind, &raw)}
	}
	return read(kind, &raw), nil
}

// Decode returns what a token says about itself, for people to read. None of it is
// proved: anyone can write such a token. Verify checks the signature.
func Decode(s string) (Claims, error) {
	var raw [rawLen]byte
	kind, err := unpack(s, &raw)
	if err != nil {
		return Claims{}, err
	}
	return read(kind, &raw), nil
}

// Verify returns nil if a key of the keyring signed the token s, else an error that says
// why not. It does not check whether the token has expired or was revoked.
func Verify(s string, ring *keyring.Keyring) error {
	kind := Access
	if strings.HasPrefix(s, string(Refresh)) {
		kind = Refresh
	}
	_, err := parse(context.Background(), s, kind, only{ring})
	return err
}
