package app

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"strings"
)

// The format of an AppKey and of a secret (the rows APIG.2201). Both start with a letter
// or a digit.
const (
	MinKeyLen    = 8
	MaxKeyLen    = 200
	MinSecretLen = 8
	MaxSecretLen = 128
)

const (
	keyChars    = "-_"
	secretChars = "-_!@#$%"
)

// ValidKey reports whether s has the format of an AppKey: 8 to 200 of [A-Za-z0-9_-].
func ValidKey(s string) bool { return shaped(s, MinKeyLen, MaxKeyLen, keyChars) }

// ValidSecret reports whether s has the format of a secret: 8 to 128 of
// [A-Za-z0-9_-!@#$%].
func ValidSecret(s string) bool { return shaped(s, MinSecretLen, MaxSecretLen, secretChars) }

func shaped(s string, least, most int, punctuation string) bool {
	if len(s) < least || len(s) > most || !alphanumeric(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !alphanumeric(s[i]) && strings.IndexByte(punctuation, s[i]) < 0 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// Pepper is the key under which secrets are hashed. It is in the keyring, and never in
// Redis or in the apps file, so secrets can't be guessed from a dump of either.
type Pepper [32]byte

// Secret is what is stored of one secret of an app.
type Secret struct {
	Hash SecretHash // under the pepper
}

// SecretHash is the HMAC-SHA-256 of a secret under the pepper. It is fast on purpose:
// because the pepper is kept apart, a slow hash would only slow down the service.
type SecretHash [sha256.Size]byte

// hashDomain separates these HMACs from any other use of the pepper.
const hashDomain = "authsvc app secret v1\x00"

// Hash returns the hash of a secret.
func (p *Pepper) Hash(secret string) SecretHash { return hashWith(p.mac(), secret) }

func (p *Pepper) mac() hash.Hash { return hmac.New(sha256.New, p[:]) }

// hashWith is like Pepper.Hash, with the pepper's mac, which must be fresh or reset.
func hashWith(mac hash.Hash, secret string) (h SecretHash) {
	mac.Write([]byte(hashDomain + secret))
	mac.Sum(h[:0])
	return h
}

// hashPrefix names the algorithm in a written hash.
const hashPrefix = "hmac-sha256:"

// String returns the hash in the form of secret_hash in the apps file.
func (h SecretHash) String() string {
	return hashPrefix + base64.RawURLEncoding.EncodeToString(h[:])
}

// ParseSecretHash parses what String returns, and nothing else. It refuses all zeros,
// which means that there is no hash.
func ParseSecretHash(s string) (SecretHash, error) {
	var h SecretHash
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(s, hashPrefix))
	if err == nil && len(b) == len(h) {
		copy(h[:], b)
	}
	// A hash has only one valid form, but base64 skips line breaks.
	if h == (SecretHash{}) || h.String() != s {
		// The text is not quoted: it may be a misplaced secret.
		return SecretHash{}, errors.New("not of the form " + hashPrefix + "... that authsvc app hash prints")
	}
	return h, nil
}

// GenerateSecret returns a new secret: 256 random bits as 64 hexadecimal digits.
func GenerateSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
