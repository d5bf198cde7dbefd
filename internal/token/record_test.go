package token

import (
	"encoding/hex"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// namedGrants are the grants of testdata/records.golden.
func namedGrants() map[string]Grant {
	i := epoch.Unix()
	return map[string]Grant{
		"fresh": {
			AppKey: keyC, Scope: "orders.read orders.write", IssuedAt: i,
			Serial: 1, KeyID: 1, AccessExpires: i + 3600, RefreshExpires: i + 7200, KeepUntil: i + 7200, LowestValid: 1,
		},
		"rotated": {
			AppKey: keyC, Scope: "orders.read orders.write", IssuedAt: i,
			Serial: 5, KeyID: 1, AccessExpires: i + 10800, RefreshExpires: i + 14400, KeepUntil: i + 14400, LowestValid: 1,
			Rotated: (i+7200)*1000 + 678, Rotated1: (i+3600)*1000 + 42,
		},
		"full": {
			AppKey: keyA, Generation: 3, Scope: "orders.read", ThroughData: `{"user":"ü中"}`, IssuedAt: i,
			Serial: 300, KeyID: 255, AccessExpires: i + 90000, RefreshExpires: i + 100000, KeepUntil: i + 100000,
			Rotated: (i+80000)*1000 + 1, Rotated1: (i+70000)*1000 + 999, LowestValid: 299,
		},
	}
}

// The record format is pinned: what lies in a store must go on being read, and
// Swap compares bytes.
func TestRecordsMatchTheirGoldenVectors(t *testing.T) {
	grants := namedGrants()
	lines := goldenLines(t, "testdata/records.golden")
	if len(lines) != len(grants) {
		t.Fatalf("%d vectors, want %d", len(lines), len(grants))
	}
	for _, l := range lines {
		want, ok := grants[l[0]]
		if !ok {
			t.Fatalf("vector %s has no grant", l[0])
		}
		if got := hex.EncodeToString(want.encode()); got != l[1] {
			t.Errorf("%s encodes as %s, the vector is %s", l[0], got, l[1])
		}
		got, err := decodeGrant(mustHex(l[1]))
		if err != nil {
			t.Errorf("%s: %v", l[0], err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", l[0], d)
		}
	}
}

func drawGrant(t *rapid.T) Grant {
	sec := func(name string) int64 { return int64(rapid.Uint32().Draw(t, name)) }
	milli := func(name string) int64 { return rapid.Int64Range(0, math.MaxUint32*1000).Draw(t, name) }
	issued := sec("issued")
	return Grant{
		AppKey:         rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_-]{7,199}`).Draw(t, "key"),
		Generation:     rapid.Uint32().Draw(t, "generation"),
		Scope:          rapid.StringMatching(`([a-z.]{1,9}( [a-z.]{1,9}){0,3})?`).Draw(t, "scope"),
		ThroughData:    rapid.StringN(0, MaxThroughData, -1).Draw(t, "through_data"),
		IssuedAt:       issued,
		Serial:         rapid.Uint32().Draw(t, "serial"),
		KeyID:          rapid.Byte().Draw(t, "key id"),
		AccessExpires:  issued + sec("access"),
		RefreshExpires: issued + sec("refresh"),
		KeepUntil:      issued + sec("keep"),
		Rotated:        milli("rotated"),
		Rotated1:       milli("rotated1"),
		LowestValid:    rapid.Uint32().Draw(t, "lowest"),
	}
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawGrant(t)
		b := want.encode()
		got, err := decodeGrant(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
		if string(got.encode()) != string(b) {
			t.Fatal("the same grant encodes in two ways")
		}
	})
}

// unreadable fails the test unless b is refused as a record that this version
// cannot read, which is answered with 0613 and never with a verdict.
func unreadable(t *testing.T, what string, b []byte) {
	t.Helper()
	g, err := decodeGrant(b)
	if re := recordError(""); !errors.As(err, &re) {
		t.Errorf("%s: error %v (%T), want a recordError", what, err, err)
	}
	if g != (Grant{}) {
		t.Errorf("%s: an unreadable record is a grant: %+v", what, g)
	}
}

func TestUnreadableRecords(t *testing.T) {
	unreadable(t, "nothing", nil)
	for name, g := range namedGrants() {
		b := g.encode()
		for n := range b {
			unreadable(t, name+" cut off", b[:n])
		}
		unreadable(t, name+" with a byte after it", append(g.encode(), 0))
		for _, v := range []byte{0, 2, 255, '{'} {
			unreadable(t, name+" of another version", with(b, 0, v))
		}
	}
	// A field above what it can mean is not cut to fit.
	for _, tt := range []struct{ name, hex string }{
		{"text longer than the record", "0105"},
		{"text longer than 65535", "01808004"},
		{"generation over 32 bits", "010000008080808010"},
		{"number over 64 bits", "01000000ffffffffffffffffffff7f"},
	} {
		unreadable(t, tt.name, mustHex(tt.hex))
	}
	g := namedGrants()["fresh"]
	g.AccessExpires = g.IssuedAt - 1 // cannot be written; if it ever is, it must not be read as another time
	unreadable(t, "expiry before issued-at", g.encode())
}

// What a grant costs in the store: a 14-character key, two scopes, no
// through_data. Fresh it is 59 bytes, after refreshes 69.
func TestRecordSize(t *testing.T) {
	for name, want := range map[string]int{"fresh": 59, "rotated": 69} {
		g := namedGrants()[name]
		if n := len(g.encode()); n != want || n > 96 {
			t.Errorf("%s: %d bytes, want %d, at most 96", name, n, want)
		}
	}
}

func TestStoreMayForgetAGrantTenMinutesAfterItsLastToken(t *testing.T) {
	g := namedGrants()["rotated"]
	if got, want := g.expireAt(), time.Unix(g.KeepUntil+600, 0); !got.Equal(want) {
		t.Errorf("expireAt is %v, want %v", got, want)
	}
}

func FuzzDecodeGrant(f *testing.F) {
	for _, l := range goldenLines(f, "testdata/records.golden") {
		b := mustHex(l[1])
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, 0))
	}
	f.Add([]byte{})
	f.Add([]byte{recordVersion})
	f.Add(mustHex("01000000ffffffffffffffffffff7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeGrant(b)
		if err != nil {
			if _, ours := err.(recordError); !ours {
				t.Errorf("error of type %T: %v", err, err)
			}
			return
		}
		again, err := decodeGrant(g.encode())
		if err != nil || again != g {
			t.Errorf("%x is %+v, which encodes as %+v, %v", b, g, again, err)
		}
	})
}
