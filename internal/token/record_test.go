package token

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// namedGrants are the grants of testdata/records.golden.
func namedGrants() map[string]Grant {
	i, ms := epoch.Unix(), epoch.UnixMilli()
	return map[string]Grant{
		"fresh": {
			AppKey: keyC, Scope: "orders.read orders.write", IssuedAt: ms,
			Serial: 1, KeyID: 1, Rotated: ms, AccessExpires: i + 3600, RefreshExpires: i + 7200,
			Rotated1: ms, LowestValid: 1, KeepUntil: i + 7200,
		},
		"rotated once": {
			AppKey: keyC, Scope: "orders.read orders.write", IssuedAt: ms,
			Serial: 2, KeyID: 1, Rotated: ms + 3_600_042, AccessExpires: i + 7200, RefreshExpires: i + 10800,
			From: 1, Rotated1: ms, LowestValid: 1, KeepUntil: i + 10800,
		},
		"rotated": {
			AppKey: keyC, Scope: "orders.read orders.write", IssuedAt: ms,
			Serial: 719, KeyID: 1, Rotated: (i+2584800)*1000 + 678, AccessExpires: i + 2588400, RefreshExpires: i + 2592000,
			From: 718, From1: 717, Rotated1: (i+2581200)*1000 + 42, LowestValid: 1, KeepUntil: i + 2592000,
		},
		"full": {
			AppKey: keyA, Generation: 3, Scope: "orders.read", ThroughData: `{"user":"ü中"}`, IssuedAt: ms,
			Serial: 302, KeyID: 255, Rotated: (i+80000)*1000 + 1, AccessExpires: i + 90000, RefreshExpires: i + 100000,
			From: 300, From1: 297, Rotated1: (i+70000)*1000 + 999, LowestValid: 302, KeepUntil: i + 120000,
			JumpedLow: 298, JumpedHigh: 300,
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
		name, id := strings.ReplaceAll(l[0], "_", " "), GrantID(mustHex(l[1]))
		want, ok := grants[name]
		if !ok {
			t.Fatalf("vector %s has no grant", name)
		}
		if got := hex.EncodeToString(recordOf(&want, id)); got != l[2] {
			t.Errorf("%s encodes as %s, the vector is %s", name, got, l[2])
		}
		got, err := decodeGrant(id, mustHex(l[2]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func drawID(t *rapid.T) GrantID {
	return GrantID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
}

func drawGrant(t *rapid.T) Grant {
	number := func(name string, most uint32) uint32 { return rapid.Uint32Range(0, most).Draw(t, name) }
	ms := func(name string, from int64) int64 { return rapid.Int64Range(from, maxMillis).Draw(t, name) }
	life := func(name string) int64 { return rapid.Int64Range(0, maxLifetime).Draw(t, name) }
	g := Grant{
		AppKey:      rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_-]{7,199}`).Draw(t, "key"),
		Generation:  number("generation", math.MaxUint32),
		Scope:       rapid.StringMatching(`([a-z.]{1,9}( [a-z.]{1,9}){0,3})?`).Draw(t, "scope"),
		ThroughData: rapid.StringN(0, MaxThroughData, -1).Draw(t, "through_data"),
		IssuedAt:    ms("issued", 0),
		Serial:      number("serial", math.MaxUint32),
		KeyID:       rapid.Byte().Draw(t, "key id"),
		LowestValid: number("lowest", math.MaxUint32),
		JumpedLow:   number("jumped", math.MaxUint32),
	}
	g.From = number("from", g.Serial)
	g.From1 = number("from1", g.From)
	g.Rotated = ms("rotated", g.IssuedAt)
	g.Rotated1 = ms("rotated1", g.IssuedAt)
	g.AccessExpires = g.Rotated/1000 + life("access")
	g.RefreshExpires = g.Rotated/1000 + life("refresh")
	g.KeepUntil = max(g.AccessExpires, g.RefreshExpires) + life("keep")
	g.JumpedHigh = g.JumpedLow + number("jumps", math.MaxUint32-g.JumpedLow)
	if g.JumpedLow == g.JumpedHigh {
		g.JumpedLow, g.JumpedHigh = 0, 0
	}
	return g
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, id := drawGrant(t), drawID(t)
		b := recordOf(&want, id)
		got, err := decodeGrant(id, b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
		if string(recordOf(&got, id)) != string(b) {
			t.Fatal("the same grant encodes in two ways")
		}
	})
}

// unreadable fails the test unless b is refused as a record of id that this version
// cannot read, which is answered with 0613 and never with a verdict.
func unreadable(t *testing.T, what string, id GrantID, b []byte) {
	t.Helper()
	g, err := decodeGrant(id, b)
	if re := recordError(""); !errors.As(err, &re) {
		t.Errorf("%s: error %v (%T), want a recordError", what, err, err)
	}
	if g != (Grant{}) {
		t.Errorf("%s: an unreadable record is a grant: %+v", what, g)
	}
}

// sealed is a record with the right checksum.
func sealed(id GrantID, b []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(b), checksum(id, b))
}

func TestUnreadableRecords(t *testing.T) {
	id := GrantID{7, 15: 9}
	unreadable(t, "nothing", id, nil)
	unreadable(t, "a checksum", id, sealed(id, nil))
	for name, g := range namedGrants() {
		b := recordOf(&g, id)
		fields := b[:len(b)-checksumLen]
		for n := range b {
			unreadable(t, name+" cut off", id, b[:n])
		}
		for n := range fields {
			if g.JumpedLow == g.JumpedHigh || n != len(fields)-3 { // there it is another grant, whole
				unreadable(t, name+" cut off before it was sealed", id, sealed(id, fields[:n]))
			}
		}
		unreadable(t, name+" with a byte after it", id, append(bytes.Clone(b), 0))
		unreadable(t, name+" with a byte before its checksum", id, sealed(id, append(bytes.Clone(fields), 0)))
		unreadable(t, name+" twice", id, append(bytes.Clone(b), b...))
		for _, v := range []byte{0, 1, 3, 255, '{'} {
			unreadable(t, name+" of another version", id, with(b, 0, v))
			unreadable(t, name+" of another version, sealed", id, sealed(id, with(fields, 0, v)))
		}
		for _, other := range []GrantID{{}, {7, 15: 8}, {9, 15: 7}} {
			unreadable(t, name+" under another id", other, b)
		}
		for bit := range len(b) * 8 {
			unreadable(t, fmt.Sprintf("%s, bit %d", name, bit), id, with(b, bit/8, b[bit/8]^1<<(bit%8)))
		}
	}
	// A field above what it can mean is not cut to fit.
	for _, tt := range []struct{ name, hex string }{
		{"text longer than the record", "0205"},
		{"text longer than 65535", "02808004"},
		{"generation over 32 bits", "020000008080808010"},
		{"number over 64 bits", "02000000ffffffffffffffffffff7f"},
		{"from above the serial", "020000000000010200000000000000" + "00"},
		{"jumped over, none", "02000000000001000000000000000100" + "0700"},
	} {
		unreadable(t, tt.name, id, sealed(id, mustHex(tt.hex)))
	}
}

// What can't be encoded is refused, and never cut to fit: not one of these may be read as
// another grant.
func TestGrantsThatCanNotBeEncoded(t *testing.T) {
	for name, change := range map[string]func(*Grant){
		"issued before 1970":                  func(g *Grant) { g.IssuedAt = -1 },
		"issued after its field ends":         func(g *Grant) { g.IssuedAt, g.Rotated, g.Rotated1 = maxMillis+1, maxMillis+1, maxMillis+1 },
		"rotated before it was issued":        func(g *Grant) { g.Rotated = g.IssuedAt - 1 },
		"the rotation before too":             func(g *Grant) { g.Rotated1 = g.IssuedAt - 1 },
		"rotated after the field ends":        func(g *Grant) { g.Rotated = maxMillis + 1 },
		"access expires before it is issued":  func(g *Grant) { g.AccessExpires = g.Rotated/1000 - 1 },
		"refresh expires before it is issued": func(g *Grant) { g.RefreshExpires = g.Rotated/1000 - 1 },
		"lifetime over 24 bits":               func(g *Grant) { g.AccessExpires = g.Rotated/1000 + maxLifetime + 1 },
		"kept shorter than its tokens":        func(g *Grant) { g.KeepUntil = g.RefreshExpires - 1 },
		"from a serial to come":               func(g *Grant) { g.From = g.Serial + 1 },
		"from1 after from":                    func(g *Grant) { g.From1 = g.From + 1 },
		"jumped over backwards":               func(g *Grant) { g.JumpedLow, g.JumpedHigh = 9, 8 },
		"scope longer than 65535":             func(g *Grant) { g.Scope = strings.Repeat("a", 65536) },
	} {
		g := namedGrants()["rotated"]
		change(&g)
		b, err := g.encode(GrantID{})
		if re := (rangeError{}); !errors.As(err, &re) || b != nil {
			t.Errorf("%s: %x, %v; want a rangeError", name, b, err)
		}
	}
}

// What a grant costs in the store: a 14-character key, two scopes, no
// through_data. Up to 76 bytes, Redis puts it into 80.
func TestRecordSize(t *testing.T) {
	for name, want := range map[string]int{"fresh": 65, "rotated once": 68, "rotated": 74} {
		g := namedGrants()[name]
		if n := len(recordOf(&g, GrantID{})); n != want || n > 76 {
			t.Errorf("%s: %d bytes, want %d, at most 76", name, n, want)
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
	id := GrantID{1}
	for _, g := range namedGrants() {
		b := recordOf(&g, id)
		b = b[:len(b)-checksumLen] // which the target adds: no input would get past it
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, 0))
	}
	f.Add([]byte{})
	f.Add([]byte{recordVersion})
	f.Add(mustHex("02000000ffffffffffffffffffff7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeGrant(id, b); err != nil {
			if _, ours := err.(recordError); !ours {
				t.Errorf("error of type %T: %v", err, err)
			}
		}
		g, err := decodeGrant(id, sealed(id, b))
		if err != nil {
			if _, ours := err.(recordError); !ours {
				t.Errorf("error of type %T: %v", err, err)
			}
			return
		}
		record, err := g.encode(id)
		if err != nil {
			t.Fatalf("%x is %+v, which can't be encoded: %v", b, g, err)
		}
		if again, err := decodeGrant(id, record); err != nil || again != g {
			t.Errorf("%x is %+v, which encodes as %+v, %v", b, g, again, err)
		}
	})
}
