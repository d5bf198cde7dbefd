package keyring

import (
	"encoding/hex"
	"os"
	"slices"
	"testing"
	"time"
)

// A release reads what the ones before it wrote: see TestGrantsAndTokensOf010.
func TestKeyringOf010(t *testing.T) {
	b, err := os.ReadFile("../../testdata/0.1.0/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	hour := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 0, 0, time.UTC) }
	for i, want := range []struct {
		id                 byte
		created, signsFrom time.Time
		mac                string // the first 8 bytes of that of "message"
	}{
		{1, hour(20, 10, 0), hour(20, 10, 0), "b4de9aed710a25a3"},
		{200, hour(25, 12, 55), hour(25, 13, 0), "765ddcee9bea4a37"},
	} {
		k := r.Keys()[i]
		mac := k.MAC([]byte("message"))
		if k.ID != want.id || !k.Created.Equal(want.created) || !k.SignsFrom.Equal(want.signsFrom) || hex.EncodeToString(mac[:8]) != want.mac {
			t.Errorf("key %d, created %v, signs from %v, MAC %x; want %+v", k.ID, k.Created, k.SignsFrom, mac[:8], want)
		}
	}
	if at, dropped := r.DroppedAt(7); !dropped || !at.Equal(hour(25, 9, 30)) || !slices.Equal(r.Dropped(), []byte{7}) {
		t.Errorf("dropped %v, key 7 at %v", r.Dropped(), at)
	}
	pepper := r.Pepper()
	if hash := pepper.Hash("orders-Secret-0001"); hash.String() != "hmac-sha256:EJakClxu62dBq5JXeJa7F6O005umt-YHabcyea8njyY" {
		t.Errorf("the hash of a secret is %s", hash)
	}
}
