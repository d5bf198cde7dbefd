package token

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/app"
	"authsvc/internal/keyring"
)

// written is what a release wrote of one grant.
type written struct {
	id                    GrantID
	record                []byte
	access, refresh, used string // the current pair, and what it was answered for
}

// ofRelease reads the grants that a release wrote, and its keyring.
func ofRelease(t *testing.T, release string) (map[string]*written, *keyring.Keyring) {
	t.Helper()
	dir := "../../testdata/" + release
	grants := map[string]*written{}
	for _, l := range goldenLines(t, dir+"/grants.txt") {
		g := grants[l[1]]
		if g == nil {
			g = &written{}
			grants[l[1]] = g
		}
		switch l[0] {
		case "record":
			g.id, g.record = GrantID(mustHex(l[2])), mustHex(l[3])
		case "access":
			g.access = l[2]
		case "refresh":
			g.refresh = l[2]
		case "used":
			g.used = l[2]
		}
	}
	b, err := os.ReadFile(dir + "/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return grants, ring
}

// grantsOf010 are the grants in testdata/0.1.0.
var grantsOf010 = map[string]Grant{
	"fresh": {
		AppKey: "orders-web-001", Scope: "orders.read orders.write", IssuedAt: 1795608000678,
		Serial: 1, KeyID: 1, Rotated: 1795608000678, AccessExpires: 1795611600, RefreshExpires: 1795615200,
		Rotated1: 1795608000678, LowestValid: 1, KeepUntil: 1795615200,
	},
	"rotated": {
		AppKey: "orders-web-001", Scope: "orders.read orders.write", IssuedAt: 1795608000678,
		Serial: 4, KeyID: 200, Rotated: 1795613401047, AccessExpires: 1795617001, RefreshExpires: 1795620601,
		From: 3, From1: 2, Rotated1: 1795611600924, LowestValid: 1, KeepUntil: 1795620601,
	},
	"narrowed": {
		AppKey: "orders-web-001", Scope: "orders.read", ThroughData: `{"user":"ü中"}`, IssuedAt: 1795613401047,
		Serial: 2, KeyID: 200, Rotated: 1795613402047, AccessExpires: 1795617002, RefreshExpires: 1795620602,
		From: 1, Rotated1: 1795613401047, LowestValid: 2, KeepUntil: 1795620602,
	},
	"healed": {
		AppKey: "tenant-app-072704", Generation: 3, Scope: "orders.read", ThroughData: "td", IssuedAt: 1795613402047,
		Serial: 7, KeyID: 200, Rotated: 1795613762054, AccessExpires: 1795613852, RefreshExpires: 1795685762,
		From: 6, From1: 2, Rotated1: 1795613702047, LowestValid: 1, KeepUntil: 1795685762, JumpedLow: 2, JumpedHigh: 6,
	},
}

// A release reads what the ones before it wrote. If this fails, a format has changed: the
// new one needs a version of its own, and must be read for a release before it is written.
func TestGrantsAndTokensOf010(t *testing.T) {
	grants, ring := ofRelease(t, "0.1.0")
	if len(grants) != len(grantsOf010) {
		t.Fatalf("%d grants, want %d", len(grants), len(grantsOf010))
	}
	for name, want := range grantsOf010 {
		t.Run(name, func(t *testing.T) {
			kept := grants[name]
			got, err := decodeGrant(kept.id, kept.record)
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Fatalf("%v (-want +got):\n%s", err, d)
			}
			access, refresh := want.claims(kept.id)
			for tok, want := range map[string]Claims{kept.access: access, kept.refresh: refresh} {
				c, err := parse(t.Context(), tok, want.Kind, only{ring})
				if d := cmp.Diff(want, c); d != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, d)
				}
			}

			// It goes on from there.
			w := newWorld(t)
			w.keys = keyring.NewCurrent(ring, nil)
			w.m.cfg.Keys = w.keys
			w.change(want.AppKey, func(a *app.App) {
				a.Scopes, a.Generation = []string{"orders.read", "orders.write"}, want.Generation
			})
			w.clock.Advance(time.UnixMilli(want.Rotated + 1000).Sub(w.clock.Now()))
			w.store.restore(kept.id, record{kept.record, want.expireAt()})
			i, err := w.m.Inspect(t.Context(), kept.access)
			wantInspection := Inspection{
				Presented: Presented{JTI: access.JTI(), AppKey: want.AppKey}, Scope: want.Scope, ThroughData: want.ThroughData,
				IssuedAt: want.Rotated / 1000, ExpiresAt: want.AccessExpires,
			}
			if d := cmp.Diff(wantInspection, i); d != "" || err != nil {
				t.Errorf("introspection: %v (-want +got):\n%s", err, d)
			}
			if kept.used != "" {
				if p, err := w.refresh(want.AppKey, kept.used, "", ""); err != nil || p != (pair{kept.access, kept.refresh}) {
					t.Errorf("a repeat: %+v, %v; want the same pair", p, err)
				}
			}
			if _, err := w.refresh(want.AppKey, kept.refresh, "", ""); err != nil {
				t.Errorf("a refresh: %v", err)
			}
		})
	}
}
