package token

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"authsvc/internal/keyring"
)

// goldenLines are the lines of a file under testdata, without comments.
func goldenLines(t testing.TB, path string) [][]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]string
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if !strings.HasPrefix(s.Text(), "#") {
			lines = append(lines, strings.Fields(s.Text()))
		}
	}
	return lines
}

// The wire format is pinned: a token that is out there must go on being read,
// and read as what it was.
func TestTokensMatchTheirGoldenVectors(t *testing.T) {
	lines := goldenLines(t, "testdata/tokens.golden")
	if len(lines) != 5 {
		t.Fatalf("%d vectors, want 5", len(lines))
	}
	for _, f := range lines {
		var c Claims
		var fill byte
		var app, grant, hash string
		_, err := fmt.Sscan(strings.Join(f[1:9], " "), &c.KeyID, new(int), &c.IssuedAt, &c.ExpiresAt, &app, &grant, &c.Serial, &hash)
		if err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		fill = mustHex(f[2])[0]
		c.Kind, c.AppTag, c.Grant = Kind(f[0][0]), TagOf(app), GrantID(mustHex(grant))
		c.GrantHash = GrantHash(mustHex(hash))
		key := fixedKey(c.KeyID, fill, epoch)

		if got := minted(&c, key.key()); got != f[9] {
			t.Errorf("minted %s, the vector is %s", got, f[9])
		}
		got, err := parse(context.Background(), f[9], c.Kind, only{ringOf(key)})
		if err != nil {
			t.Errorf("parse(%s): %v", f[9], err)
		}
		if d := cmp.Diff(c, got); d != "" {
			t.Errorf("parse(%s) (-want +got):\n%s", f[9], d)
		}
	}
}

func TestTokenIs79BytesOfPrefixAndBase64URL(t *testing.T) {
	if TokenLen != 79 || rawLen != 57 || bodyLen != 39 {
		t.Fatalf("token %d, raw %d, body %d; want 79, 57, 39", TokenLen, rawLen, bodyLen)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := drawClaims(t)
		s := minted(&c, fixedKey(c.KeyID, 1, epoch).key())
		raw, err := base64.RawURLEncoding.Strict().DecodeString(s[3:])
		if len(s) != 79 || err != nil || len(raw) != 57 || s[:3] != string(rune(c.Kind))+"t_" {
			t.Fatalf("%q: %d bytes, %d decoded, %v", s, len(s), len(raw), err)
		}
	})
}

func drawClaims(t *rapid.T) Claims {
	issued := rapid.Int64Range(0, maxMillis).Draw(t, "issued")
	return Claims{
		Kind:      rapid.SampledFrom([]Kind{Access, Refresh}).Draw(t, "kind"),
		KeyID:     rapid.Byte().Draw(t, "key"),
		IssuedAt:  issued,
		ExpiresAt: issued/1000 + rapid.Int64Range(0, maxLifetime).Draw(t, "lifetime"),
		AppTag:    AppTag(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "tag")),
		Grant:     GrantID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "grant")),
		Serial:    rapid.Uint32().Draw(t, "serial"),
		GrantHash: GrantHash(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "hash")),
	}
}

func TestWhatIsMintedIsWhatIsParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawClaims(t)
		ring := ringOf(fixedKey(c.KeyID, 1, epoch))
		got, err := parse(context.Background(), minted(&c, ring.Key(c.KeyID)), c.Kind, only{ring})
		if err != nil || got != c {
			t.Fatalf("got %+v, %v; want %+v", got, err, c)
		}
	})
}

// someClaims and someRing are a good token's, for the tests that spoil it.
func someClaims(kind Kind) Claims {
	return Claims{
		Kind: kind, KeyID: 7, IssuedAt: epoch.UnixMilli(), ExpiresAt: epoch.Unix() + 3600,
		AppTag: TagOf(keyA), Grant: GrantID{1, 2, 3}, Serial: 1, GrantHash: hashOf("orders.read", "td"),
	}
}

func someRing() *keyring.Keyring { return ringOf(fixedKey(7, 0x11, epoch)) }

func someToken(kind Kind) string {
	c := someClaims(kind)
	return minted(&c, someRing().Key(7))
}

// raw is the bytes of a token, and unraw is a token of them.
func raw(t testing.TB, tok string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(tok[3:])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unraw(prefix string, b []byte) string { return prefix + base64.RawURLEncoding.EncodeToString(b) }

// with is a copy of b with one byte set.
func with(b []byte, at int, to byte) []byte {
	b = bytes.Clone(b)
	b[at] = to
	return b
}

func TestBadTokensAreRefusedWithTheirReason(t *testing.T) {
	at, rt := someToken(Access), someToken(Refresh)
	b := raw(t, at)
	otherVersion := func(version byte) string {
		// Signed by us, and yet of a version that this code cannot read.
		body := with(b[:bodyLen], 0, version)
		mac := sign(Access, body, someRing().Key(7))
		return unraw("at_", append(body, mac[:]...))
	}
	tests := []struct {
		name  string
		token string
		want  error
	}{
		{"good", at, nil},
		{"empty", "", errMalformed},
		{"only the prefix", "at_", errMalformed},
		{"one character short", at[:78], errMalformed},
		{"one character more", at + "A", errMalformed},
		{"no prefix, right length", at[3:] + "AAA", errMalformed},
		{"prefix in capitals", "AT_" + at[3:], errMalformed},
		{"prefix of no kind", "bt_" + at[3:], errMalformed},
		{"prefix with a hyphen", "at-" + at[3:], errMalformed},
		{"space before", " " + at[:78], errMalformed},
		{"line feed at the end", at[:78] + "\n", errMalformed},
		{"line feed inside, a whole token around it", at[:40] + "\n" + at[40:78], errMalformed},
		{"line feed added", at[:40] + "\n" + at[40:], errMalformed},
		{"carriage returns inside", at[:10] + "\r\n\r\n" + at[10:75], errMalformed},
		{"nothing but line feeds", "at_" + strings.Repeat("\n", 76), errMalformed},
		{"padding", at[:78] + "=", errMalformed},
		{"padding of two", at[:77] + "==", errMalformed},
		{"padding added", at + "=", errMalformed},
		{"the other base64 alphabet", "at_" + strings.Repeat("+/", 38), errMalformed},
		{"not base64", "at_" + strings.Repeat("!", 76), errMalformed},
		{"NUL", at[:78] + "\x00", errMalformed},
		{"beyond ASCII", at[:77] + "é", errMalformed},
		{"version 0", unraw("at_", with(b, 0, 0)), errMalformed},
		{"version 1, signed by us", otherVersion(1), errMalformed},
		{"version 3, signed by us", otherVersion(3), errMalformed},
		{"key that is not in the keyring", unraw("at_", with(b, 1, 8)), errUnknownKey},
		{"refresh token", rt, errKind},
		{"refresh token, prefix changed", "at_" + rt[3:], errForged},
		{"access token, prefix changed", "rt_" + at[3:], errForged},
		{"MAC of zeros", unraw("at_", append(bytes.Clone(b[:bodyLen]), make([]byte, macLen)...)), errForged},
		{"MAC of another token", at[:55] + rt[55:], errForged},
		// The order: shape, key id, MAC, kind. Each of these is wrong twice,
		// and the earlier reason is the one that is told.
		{"shape before key id", unraw("at_", with(b, 1, 8))[:78] + "!", errMalformed},
		{"version before key id", unraw("at_", with(with(b, 0, 9), 1, 8)), errMalformed},
		{"key id before MAC", unraw("at_", with(with(b, 1, 8), 56, ^b[56])), errUnknownKey},
		{"key id before kind", unraw("rt_", with(b, 1, 8)), errUnknownKey},
		{"MAC before kind", unraw("rt_", with(raw(t, rt), 56, ^raw(t, rt)[56])), errForged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(context.Background(), tt.token, Access, only{someRing()})
			if !errors.Is(err, tt.want) {
				t.Fatalf("parse(%q): %v, want %v", tt.token, err, tt.want)
			}
			if err != nil && c != (Claims{}) {
				t.Errorf("a refused token has claims: %+v", c)
			}
		})
	}
	if _, err := parse(context.Background(), at, Refresh, only{someRing()}); !errors.Is(err, errKind) {
		t.Errorf("access token for a refresh token: %v, want %v", err, errKind)
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	// A second key stands under an id one bit away, so that a flip of the key
	// id may find a key.
	ring := ringOf(fixedKey(7, 0x11, epoch), fixedKey(6, 0x22, epoch))
	for _, kind := range []Kind{Access, Refresh} {
		good := someToken(kind)
		b := raw(t, good)
		for bit := range rawLen * 8 {
			bad := with(b, bit/8, b[bit/8]^1<<(bit%8))
			want := errForged
			switch {
			case bit/8 == 0:
				want = errMalformed
			case bit/8 == 1 && bit%8 != 0:
				want = errUnknownKey
			}
			if _, err := parse(context.Background(), unraw(good[:3], bad), kind, only{ring}); !errors.Is(err, want) {
				t.Errorf("%c, bit %d of the bytes: %v, want %v", kind, bit, err, want)
			}
		}
		for bit := range TokenLen * 8 {
			bad := with([]byte(good), bit/8, good[bit/8]^1<<(bit%8))
			if _, err := parse(context.Background(), string(bad), kind, only{ring}); err == nil {
				t.Errorf("%c, bit %d of the text: taken for good", kind, bit)
			}
		}
	}
}

// RFC 6749 section 10.10: the probability of a guess must be at most 2^-128.
func TestTheWholeMACIsChecked(t *testing.T) {
	if macLen < 128/8 {
		t.Errorf("a MAC of %d bits, want 128 or more", macLen*8)
	}
	good := someToken(Access)
	b := raw(t, good)
	for n := range macLen {
		cut := b[:bodyLen+n]
		if _, err := parse(t.Context(), unraw("at_", cut), Access, only{someRing()}); !errors.Is(err, errMalformed) {
			t.Errorf("a MAC of %d bytes: %v, want %v", n, err, errMalformed)
		}
		filled := append(bytes.Clone(cut), make([]byte, macLen-n)...)
		if b[bodyLen+n] == 0 {
			filled[bodyLen+n] = 1
		}
		if _, err := parse(t.Context(), unraw("at_", filled), Access, only{someRing()}); !errors.Is(err, errForged) {
			t.Errorf("a MAC of which %d bytes are right: %v, want %v", n, err, errForged)
		}
	}
}

// What a token can't hold is not minted: it would be read as something else.
func TestClaimsThatCanNotBeEncoded(t *testing.T) {
	for name, change := range map[string]func(*Claims){
		"issued before 1970":          func(c *Claims) { c.IssuedAt, c.ExpiresAt = -1, 0 },
		"issued after its field ends": func(c *Claims) { c.IssuedAt, c.ExpiresAt = maxMillis+1, (maxMillis+1)/1000 },
		"expires before it is issued": func(c *Claims) { c.ExpiresAt = c.IssuedAt/1000 - 1 },
		"a lifetime over 24 bits":     func(c *Claims) { c.ExpiresAt = c.IssuedAt/1000 + maxLifetime + 1 },
		"an expiry of 64 bits":        func(c *Claims) { c.ExpiresAt = math.MaxInt64 },
		"an expiry of minus 64 bits":  func(c *Claims) { c.ExpiresAt = math.MinInt64 + 1 },
	} {
		c := someClaims(Access)
		change(&c)
		s, err := mint(&c, someRing().Key(7))
		if re := (rangeError{}); !errors.As(err, &re) || s != "" {
			t.Errorf("%s: %q, %v; want a rangeError", name, s, err)
		}
	}
}

// Each text stands behind its length, so that what is moved from one to the other changes
// the hash.
func TestTheGrantHashTellsScopeFromThroughData(t *testing.T) {
	seen := map[GrantHash][2]string{}
	for _, p := range [][2]string{
		{"", ""},
		{"a", ""},
		{"", "a"},
		{"a b", ""},
		{"a", " b"},
		{"a ", "b"},
		{"", "a b"},
		{"b a", ""},
		{"\x01a", ""},
		{"", "\x01a"},
		{"a\x01", "b"},
		{"a", "\x01b"},
		{strings.Repeat("a", 127), ""},
		{strings.Repeat("a", 128), ""},
		{"", strings.Repeat("中", 300)},
	} {
		h := hashOf(p[0], p[1])
		if other, taken := seen[h]; taken {
			t.Errorf("%q and %q have the hash %x", p, other, h)
		}
		seen[h] = p
	}
}

// The tag is a filter and no proof: two keys can share it.
func TestTwoAppKeysCanShareATag(t *testing.T) {
	if TagOf("tenant-app-072704") != TagOf("tenant-app-145649") {
		t.Error("tenant-app-072704 and tenant-app-145649 have different tags; TagOf has changed")
	}
	if got := hex.EncodeToString(append([]byte(nil), sliceOf(TagOf(keyA))...)); got != "8e1e61d6" {
		t.Errorf("tag of %s is %s, want 8e1e61d6", keyA, got)
	}
	if TagOf(keyA) == TagOf(keyC) {
		t.Errorf("%s and %s share a tag; the tests need them apart", keyA, keyC)
	}
}

func sliceOf(t AppTag) []byte { return t[:] }

func TestClaimsExpireAtTheirExpiry(t *testing.T) {
	c := Claims{ExpiresAt: 1000, IssuedAt: 700_999}
	if c.Lifetime() != 300 {
		t.Errorf("lifetime %d, want 300", c.Lifetime())
	}
	for _, tt := range []struct {
		now  time.Time
		want bool
	}{
		{time.Unix(999, 0), false},
		{time.Unix(999, 999_999_999), false},
		{time.Unix(1000, 0), true},
		{time.Unix(1001, 0), true},
	} {
		if got := c.Expired(tt.now); got != tt.want {
			t.Errorf("at %v expired is %v, want %v", tt.now, got, tt.want)
		}
	}
}

// A jti is shown and logged; the grant's id is half of a forgery.
func TestJTIShowsNothingOfTheGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawClaims(t)
		for i := range c.Grant { // no runs of equal bytes, which chance could repeat
			c.Grant[i] ^= byte(i * 37)
		}
		jti := c.JTI()
		b, err := base64.RawURLEncoding.DecodeString(jti)
		if err != nil || len(b) != 12 {
			t.Fatalf("jti %q: %d bytes, %v", jti, len(b), err)
		}
		for i := range len(c.Grant) - 3 {
			if bytes.Contains(b, c.Grant[i:i+4]) {
				t.Fatalf("jti %x has bytes %d to %d of the grant %x", b, i, i+4, c.Grant)
			}
		}
		other := c
		other.Kind ^= Access ^ Refresh
		if other.JTI() == jti {
			t.Fatal("both kinds have the same jti")
		}
		other = c
		other.Serial++
		if other.JTI() == jti {
			t.Fatal("two serials have the same jti")
		}
		other = c
		other.KeyID++
		other.ExpiresAt++
		if other.JTI() != jti {
			t.Fatal("the jti depends on more than grant, serial and kind")
		}
	})
}

func TestAnUnknownKeyIsLookedForOnce(t *testing.T) {
	c := someClaims(Access)
	good := minted(&c, someRing().Key(7))
	c.KeyID = 8
	unknown := minted(&c, fixedKey(8, 8, epoch).key())
	newer := ringOf(fixedKey(7, 0x11, epoch), fixedKey(8, 8, epoch))
	tests := []struct {
		name    string
		token   string
		newer   *keyring.Keyring // what the reload finds, if anything
		want    error
		reloads int
	}{
		{"a known key", good, nil, nil, 0},
		{"forged with a known key", good[:78] + "A", nil, errForged, 0},
		{"malformed", good + "A", nil, errMalformed, 0},
		{"other kind", someToken(Refresh), nil, errKind, 0},
		{"unknown, and there is no newer keyring", unknown, nil, errUnknownKey, 1},
		{"unknown, and the newer keyring has it", unknown, newer, nil, 1},
		{"unknown, the newer keyring has it, and it is forged", unknown[:78] + "A", newer, errForged, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reloads := 0
			var keys *keyring.Current
			keys = keyring.NewCurrent(someRing(), func(context.Context) {
				reloads++
				if tt.newer != nil {
					if err := keys.Replace(tt.newer, epoch); err != nil {
						t.Error(err)
					}
				}
			})
			if _, err := parse(context.Background(), tt.token, Access, keys); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if reloads != tt.reloads {
				t.Errorf("%d reloads, want %d", reloads, tt.reloads)
			}
		})
	}
	if _, err := parse(context.Background(), unknown, Access, keyring.NewCurrent(someRing(), nil)); !errors.Is(err, errUnknownKey) {
		t.Errorf("without a reload: %v, want %v", err, errUnknownKey)
	}
}

func TestKeysAreReplacedWhileTheyAreUsed(t *testing.T) {
	var rings []*keyring.Keyring
	ks := []signingKey{fixedKey(0, 0, epoch)}
	for id := byte(1); id < 20; id++ {
		ks = append(ks, fixedKey(id, id, epoch.Add(time.Duration(id)*time.Minute)))
		rings = append(rings, ringOf(ks...))
	}
	var keys *keyring.Current
	var mu sync.Mutex
	step := 0
	keys = keyring.NewCurrent(rings[0], func(context.Context) {
		mu.Lock()
		defer mu.Unlock()
		if step < len(rings)-1 {
			step++
			if err := keys.Replace(rings[step], epoch); err != nil {
				t.Error(err)
			}
		}
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for id := range byte(20) {
				c := someClaims(Refresh)
				c.KeyID = id
				tok := minted(&c, ks[id].key())
				for { // every reload brings one more key, whoever makes it
					got, err := parse(context.Background(), tok, Refresh, keys)
					if err == nil {
						if got != c {
							t.Errorf("parsed %+v, want %+v", got, c)
						}
						break
					}
					if !errors.Is(err, errUnknownKey) {
						t.Error(err)
						break
					}
				}
			}
		})
	}
	wg.Wait()
	if keys.Ring() != rings[len(rings)-1] {
		t.Error("the last keyring is not in use")
	}
}

func TestVerifyAndDecode(t *testing.T) {
	for _, kind := range []Kind{Access, Refresh} {
		tok := someToken(kind)
		c, err := Decode(tok)
		if want := someClaims(kind); err != nil || c != want {
			t.Errorf("decoded %+v, %v; want %+v", c, err, want)
		}
		forged := tok[:TokenLen-1] + "A"
		if c, err := Decode(forged); err != nil || c != someClaims(kind) {
			t.Errorf("a forged token: %v", err)
		}
		for _, tt := range []struct {
			token string
			ring  *keyring.Keyring
			want  error
		}{
			{tok, someRing(), nil},
			{forged, someRing(), errForged},
			{tok, ringOf(fixedKey(8, 8, epoch)), errUnknownKey},
			{tok[1:], someRing(), errMalformed},
			{"", someRing(), errMalformed},
		} {
			if err := Verify(tt.token, tt.ring); !errors.Is(err, tt.want) {
				t.Errorf("Verify(%q): %v, want %v", tt.token, err, tt.want)
			}
		}
	}
	if _, err := Decode("at_" + strings.Repeat("A", 76)); !errors.Is(err, errMalformed) {
		t.Errorf("another version: %v, want %v", err, errMalformed)
	}
}

func FuzzParse(f *testing.F) {
	for _, l := range goldenLines(f, "testdata/tokens.golden") {
		f.Add(l[9])
	}
	at := someToken(Access)
	for _, s := range []string{
		at, someToken(Refresh), "", "at_", "rt_", at[:78], at + "A", at[:78] + "=", at[:40] + "\n" + at[40:78],
		"at_" + strings.Repeat("\n", 76), "at_" + strings.Repeat("A", 76), "rt_" + at[3:],
	} {
		f.Add(s)
	}
	ring := ringOf(fixedKey(7, 0x11, epoch), fixedKey(255, 0x22, epoch), fixedKey(0, 0x33, epoch))
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range []Kind{Access, Refresh} {
			c, err := parse(context.Background(), s, kind, only{ring})
			if err == nil {
				if again := minted(&c, ring.Key(c.KeyID)); again != s || c.Kind != kind {
					t.Errorf("%q is good, but mints as %q", s, again)
				}
				continue
			}
			if e := codecError(""); !errors.As(err, &e) {
				t.Errorf("%q: error of type %T: %v", s, err, err)
			}
		}
	})
}
