package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/app"
)

func TestNewKeyringHasOneKeyThatSignsFromNow(t *testing.T) {
	r := NewKeyring(epoch)
	ks := r.Keys()
	if len(ks) != 1 || ks[0].ID != 1 || len(ks[0].secret) != secretLen {
		t.Fatalf("keys %+v", ks)
	}
	if want := epoch.Truncate(time.Second); !ks[0].SignsFrom.Equal(want) || !ks[0].Created.Equal(want) {
		t.Errorf("signs from %v, created %v; want %v", ks[0].SignsFrom, ks[0].Created, want)
	}
	if r.signer(epoch) != ks[0] {
		t.Error("the key does not sign at once")
	}
	other := NewKeyring(epoch)
	if r.Pepper() == (app.Pepper{}) || r.Pepper() == other.Pepper() || bytes.Equal(ks[0].secret, other.keys[0].secret) {
		t.Error("two keyrings share a secret, or have none")
	}
}

func TestKeysCannotBeChangedThroughTheirList(t *testing.T) {
	r := ringOf(fixedKey(1, 1, epoch), fixedKey(2, 2, epoch.Add(time.Hour)))
	r.Keys()[0] = nil
	if r.Keys()[0] == nil {
		t.Error("the caller's list is the keyring's own")
	}
}

func TestKeyringRoundTrip(t *testing.T) {
	want := ringOf(fixedKey(9, 2, epoch.Add(time.Hour)), fixedKey(0, 1, epoch), fixedKey(255, 3, epoch.Add(2*time.Hour)))
	want.drop(4, epoch)
	want.drop(200, epoch.Add(time.Hour))
	b := want.Marshal()
	got, err := ParseKeyring(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Marshal(), b) {
		t.Errorf("written again it is\n%s\nand was\n%s", got.Marshal(), b)
	}
	if got.Pepper() != want.Pepper() || !bytes.Equal(got.dropped, want.dropped) || got.droppedAt != want.droppedAt {
		t.Error("the pepper or the dropped keys are others")
	}
	for i, k := range got.Keys() {
		w := want.keys[i]
		if k.ID != w.ID || !bytes.Equal(k.secret, w.secret) || !k.SignsFrom.Equal(w.SignsFrom) || !k.Created.Equal(w.Created) {
			t.Errorf("key %d is %+v, want %+v", i, k, w)
		}
	}
	// What one signs the other verifies.
	c := someClaims(Access)
	c.KeyID = 9
	if _, err := parse(mint(&c, want.byID(9)), Access, got); err != nil {
		t.Error(err)
	}
}

func TestKeyringFileIsCreatedForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	r := NewKeyring(epoch)
	if err := r.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode() != 0o600 {
		t.Errorf("mode %v, want -rw-------", fi.Mode())
	}
	got, err := ReadKeyring(path)
	if err != nil || !bytes.Equal(got.Marshal(), r.Marshal()) {
		t.Errorf("what is read is not what was written: %v", err)
	}
	onlyFile(t, path)
}

// onlyFile fails the test unless the directory of path holds path and nothing else.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	es, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(es) != 1 || es[0].Name() != filepath.Base(path) {
		t.Errorf("the directory holds %v, want only %s", es, filepath.Base(path))
	}
}

func TestKeyringFileIsNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	first := NewKeyring(epoch)
	if err := first.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	err := NewKeyring(epoch).CreateFile(path)
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want fs.ErrExist", err)
	}
	if b, _ := os.ReadFile(path); !bytes.Equal(b, first.Marshal()) {
		t.Error("the keyring has changed")
	}
	onlyFile(t, path)
}

func TestKeyringFileAppearsWholeOrNotAtAll(t *testing.T) {
	// Of many that create it at once, one does, and its file is whole.
	path := filepath.Join(t.TempDir(), "keyring.json")
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch err := NewKeyring(epoch).CreateFile(path); {
			case err == nil:
				made.Add(1)
			case errors.Is(err, fs.ErrExist):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || refused.Load() != 7 {
		t.Errorf("%d created and %d refused, want 1 and 7", made.Load(), refused.Load())
	}
	if _, err := ReadKeyring(path); err != nil {
		t.Error(err)
	}
	onlyFile(t, path)

	err := NewKeyring(epoch).CreateFile(filepath.Join(t.TempDir(), "no", "such", "keyring.json"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

func TestReadKeyringNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadKeyring(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	path := filepath.Join(dir, "bad")
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyring(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name %s", err, path)
	}
}

func TestBadKeyringsAreRefusedWithoutBeingQuoted(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("qZ7"), secretLen)[:secretLen])
	key := func(id int) string {
		return fmt.Sprintf(`{"id":%d,"secret":%q,"created":"2026-01-01T00:00:00Z","signs_from":"2026-01-01T00:00:00Z"}`, id, secret)
	}
	ring := func(keys string) string { return fmt.Sprintf(`{"version":1,"pepper":%q,"keys":[%s]}`, secret, keys) }

	if _, err := ParseKeyring([]byte(ring(key(1) + "," + key(0) + "," + key(255)))); err != nil {
		t.Fatalf("the base of the bad ones is bad itself: %v", err)
	}
	tests := []struct{ name, file string }{
		{"empty file", ""},
		{"not JSON", "secret " + secret},
		{"JSON of another kind", `"` + secret + `"`},
		{"cut off", ring(key(1))[:180]},
		{"empty object", "{}"},
		{"null", "null"},
		{"version missing", strings.Replace(ring(key(1)), `"version":1,`, "", 1)},
		{"version of the future", strings.Replace(ring(key(1)), `"version":1`, `"version":2`, 1)},
		{"unknown field", strings.Replace(ring(key(1)), `"version":1`, `"version":1,"`+secret+`":1`, 1)},
		{"unknown field of a key", strings.Replace(ring(key(1)), `"id":1`, `"id":1,"alg":"`+secret+`"`, 1)},
		{"something after its end", ring(key(1)) + ring(key(2))},
		{"a word after its end", ring(key(1)) + secret},
		{"no key", ring("")},
		{"pepper missing", fmt.Sprintf(`{"version":1,"keys":[%s]}`, key(1))},
		{"pepper too short", strings.Replace(ring(key(1)), secret, secret[:40], 1)},
		{"pepper not base64", strings.Replace(ring(key(1)), secret, "!"+secret, 1)},
		{"id twice", ring(key(1) + "," + key(1))},
		{"id below 0", ring(key(-1))},
		{"id above 255", ring(key(256))},
		{"secret missing", ring(strings.Replace(key(1), secret, "", 1))},
		{"secret too short", ring(strings.Replace(key(1), secret, secret[:40], 1))},
		{"secret too long", ring(strings.Replace(key(1), secret, secret[:40]+secret, 1))},
		{"secret not base64", ring(strings.Replace(key(1), secret, secret+"!", 1))},
		{"signs_from missing", ring(strings.Replace(key(1), `,"signs_from":"2026-01-01T00:00:00Z"`, "", 1))},
		{"signs_from no time", ring(strings.Replace(key(1), `"signs_from":"2026-01-01T00:00:00Z"`, `"signs_from":"`+secret+`"`, 1))},
		{"a dropped key in it", strings.Replace(ring(key(1)), `"version":1`, `"version":1,"dropped":[{"id":1,"at":"2026-01-01T00:00:00Z"}]`, 1)},
		{"a key dropped twice", strings.Replace(ring(key(1)), `"version":1`, `"version":1,"dropped":[{"id":2,"at":"2026-01-01T00:00:00Z"},{"id":2,"at":"2026-01-01T00:00:00Z"}]`, 1)},
		{"a dropped key that does not say when", strings.Replace(ring(key(1)), `"version":1`, `"version":1,"dropped":[{"id":2}]`, 1)},
		{"a dropped key that is no id", strings.Replace(ring(key(1)), `"version":1`, `"version":1,"dropped":[{"id":256,"at":"2026-01-01T00:00:00Z"}]`, 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ParseKeyring([]byte(tt.file))
			if err == nil || r != nil {
				t.Fatalf("taken for good: %v", r)
			}
			for n := 0; n+8 <= len(secret); n++ {
				if strings.Contains(err.Error(), secret[n:n+8]) {
					t.Fatalf("the error quotes the file: %v", err)
				}
			}
		})
	}
}

func TestTheNewestKeyWhoseTimeHasComeSigns(t *testing.T) {
	first, second, third := fixedKey(5, 1, epoch), fixedKey(2, 2, epoch.Add(time.Hour)), fixedKey(9, 3, epoch.Add(2*time.Hour))
	orders := map[string]*Keyring{
		"in order": ringOf(first, second, third),
		"reversed": ringOf(third, second, first),
	}
	for name, r := range orders {
		for _, tt := range []struct {
			now  time.Time
			want *Key
		}{
			{epoch.Add(-time.Hour), first}, // its time has not come, but somebody must sign
			{epoch.Add(-1), first},
			{epoch, first},
			{epoch.Add(time.Hour - 1), first},
			{epoch.Add(time.Hour), second},
			{epoch.Add(2*time.Hour - 1), second},
			{epoch.Add(2 * time.Hour), third},
			{epoch.Add(20000 * time.Hour), third},
		} {
			if got := r.signer(tt.now); got != tt.want {
				t.Errorf("%s: key %d signs at %v, want %d", name, got.ID, tt.now, tt.want.ID)
			}
		}
	}
}

func TestASuccessorMustKnowEveryKeyThatCanHaveALivingToken(t *testing.T) {
	// Key 1 stops signing when key 2 begins, at the epoch; its last token can
	// live MaxTokenLife longer.
	old := func() *Keyring {
		return ringOf(fixedKey(1, 1, epoch.Add(-time.Hour)), fixedKey(2, 2, epoch))
	}
	dropping := func(r *Keyring, ids ...byte) *Keyring { r.dropped = ids; return r }
	pepper := old()
	pepper.pepper[0] ^= 1
	tests := []struct {
		name string
		next *Keyring
		now  time.Time
		want string // part of the error; "" for none
	}{
		{"the same", old(), epoch, ""},
		{"one key more", ringOf(old().keys[0], old().keys[1], fixedKey(3, 3, epoch)), epoch, ""},
		{"another pepper", pepper, epoch, "pepper"},
		{"another key under the same id", ringOf(fixedKey(1, 9, epoch.Add(-time.Hour)), old().keys[1]), epoch, "key 1 is another"},
		{"another key under the same id, long after", ringOf(fixedKey(1, 9, epoch.Add(-time.Hour)), old().keys[1]), epoch.Add(MaxTokenLife), "key 1 is another"},
		{"missing, just out of use", ringOf(old().keys[1]), epoch, "key 1 is missing"},
		{"missing, a nanosecond too early", ringOf(old().keys[1]), epoch.Add(MaxTokenLife - 1), "key 1 is missing"},
		{"missing, and all its tokens dead", ringOf(old().keys[1]), epoch.Add(MaxTokenLife), ""},
		{"the signing key is missing", ringOf(old().keys[0]), epoch.Add(1000 * MaxTokenLife), "key 2 is missing"},
		{"the signing key is missing, another is there", ringOf(old().keys[0], fixedKey(3, 3, epoch)), epoch.Add(time.Hour), "key 2 is missing"},
		{"dropped on purpose", dropping(ringOf(old().keys[1]), 1), epoch, ""},
		{"the signing key dropped on purpose", dropping(ringOf(old().keys[0], fixedKey(3, 3, epoch)), 2), epoch, ""},
		{"another one was dropped", dropping(ringOf(old().keys[1]), 7), epoch, "key 1 is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cur := old()
			keys := NewKeys(cur, nil)
			err := keys.Replace(tt.next, tt.now)
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want == "" && keys.Ring() != tt.next:
				t.Error("the new keyring is not in use")
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want one with %q", err, tt.want)
			case tt.want != "" && keys.Ring() != cur:
				t.Error("a refused keyring is in use")
			}
		})
	}
}

func TestAnUnknownKeyIsLookedForOnce(t *testing.T) {
	c := someClaims(Access)
	good := mint(&c, someRing().keys[0])
	c.KeyID = 8
	unknown := mint(&c, fixedKey(8, 8, epoch))
	newer := ringOf(someRing().keys[0], fixedKey(8, 8, epoch))
	tests := []struct {
		name    string
		token   string
		newer   *Keyring // what the reread finds, if anything
		want    error
		rereads int
	}{
		{"a known key", good, nil, nil, 0},
		{"forged with a known key", good[:66] + "A", nil, errForged, 0},
		{"malformed", good + "A", nil, errMalformed, 0},
		{"other kind", someToken(Refresh), nil, errKind, 0},
		{"unknown, and there is no newer keyring", unknown, nil, errUnknownKey, 1},
		{"unknown, and the newer keyring has it", unknown, newer, nil, 1},
		{"unknown, the newer keyring has it, and it is forged", unknown[:66] + "A", newer, errForged, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rereads := 0
			var keys *Keys
			keys = NewKeys(someRing(), func() {
				rereads++
				if tt.newer != nil {
					if err := keys.Replace(tt.newer, epoch); err != nil {
						t.Error(err)
					}
				}
			})
			if _, err := keys.parse(tt.token, Access); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if rereads != tt.rereads {
				t.Errorf("%d rereads, want %d", rereads, tt.rereads)
			}
		})
	}
	if _, err := NewKeys(someRing(), nil).parse(unknown, Access); !errors.Is(err, errUnknownKey) {
		t.Errorf("without a reread: %v, want %v", err, errUnknownKey)
	}
}

func TestAKeyIsLookedForOnceByItsID(t *testing.T) {
	for _, found := range []bool{false, true} {
		rereads := 0
		var keys *Keys
		keys = NewKeys(someRing(), func() {
			rereads++
			if found {
				_ = keys.Replace(ringOf(someRing().keys[0], fixedKey(8, 8, epoch)), epoch)
			}
		})
		if keys.byID(7) == nil || rereads != 0 {
			t.Errorf("a known key took %d rereads", rereads)
		}
		if got := keys.byID(8); (got != nil) != found || rereads != 1 {
			t.Errorf("byID(8) is %v after %d rereads, want found %v after 1", got, rereads, found)
		}
	}
	if NewKeys(someRing(), nil).byID(8) != nil {
		t.Error("without a reread an unknown key was found")
	}
}

func TestKeysAreReplacedWhileTheyAreUsed(t *testing.T) {
	var rings []*Keyring
	ks := []*Key{fixedKey(0, 0, epoch)}
	for id := byte(1); id < 20; id++ {
		ks = append(ks, fixedKey(id, id, epoch.Add(time.Duration(id)*time.Minute)))
		rings = append(rings, ringOf(ks...))
	}
	var keys *Keys
	var mu sync.Mutex
	step := 0
	keys = NewKeys(rings[0], func() {
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
				tok := mint(&c, ks[id])
				for { // every reread brings one more key, whoever makes it
					got, err := keys.parse(tok, Refresh)
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

func FuzzParseKeyring(f *testing.F) {
	good := ringOf(fixedKey(1, 1, epoch), fixedKey(2, 2, epoch.Add(time.Hour)))
	good.drop(3, epoch)
	f.Add(good.Marshal())
	f.Add(NewKeyring(epoch).Marshal())
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"version":1,"pepper":"","keys":[{"id":1}]}`))
	f.Add(bytes.ReplaceAll(good.Marshal(), []byte("2026"), []byte("9999")))
	f.Add(bytes.ReplaceAll(good.Marshal(), []byte("Z"), []byte("+23:59")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseKeyring(b)
		if err != nil {
			if r != nil {
				t.Error("a keyring beside an error")
			}
			return
		}
		out := r.Marshal()
		if !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
		again, err := ParseKeyring(out)
		if err != nil {
			t.Fatalf("%v; it was written as %s", err, out)
		}
		if !bytes.Equal(again.Marshal(), out) {
			t.Errorf("written as %s, and then as %s", out, again.Marshal())
		}
		if r.signer(epoch) == nil {
			t.Error("nobody signs")
		}
		if err := r.successor(again, epoch); err != nil {
			t.Errorf("a keyring is not its own successor: %v", err)
		}
	})
}
