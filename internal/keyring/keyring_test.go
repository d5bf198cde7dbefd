package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/app"
)

// epoch is when the tests begin. It is not a whole second on purpose.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)

// fixedKey returns a signing key whose secret is known: secretLen bytes of fill.
func fixedKey(id, fill byte, signsFrom time.Time) *Key {
	return newKey(id, bytes.Repeat([]byte{fill}, secretLen), signsFrom, signsFrom, nil)
}

// ringOf returns a keyring with a fixed pepper and the given keys.
func ringOf(keys ...*Key) *Keyring {
	r := &Keyring{}
	for i := range r.pepper {
		r.pepper[i] = 0xee
	}
	for _, k := range keys {
		r.add(k)
	}
	return r
}

func TestNewKeyringHasOneKeyThatSignsFromNow(t *testing.T) {
	r := New(epoch)
	ks := r.Keys()
	if len(ks) != 1 || ks[0].ID != 1 || len(ks[0].secret) != secretLen {
		t.Fatalf("keys %+v", ks)
	}
	if want := epoch.Truncate(time.Second); !ks[0].SignsFrom.Equal(want) || !ks[0].Created.Equal(want) {
		t.Errorf("signs from %v, created %v; want %v", ks[0].SignsFrom, ks[0].Created, want)
	}
	if r.Signer(epoch) != ks[0] {
		t.Error("the key does not sign at once")
	}
	other := New(epoch)
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
	got, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Marshal(), b) {
		t.Errorf("written again it is\n%s\nand was\n%s", got.Marshal(), b)
	}
	if got.Pepper() != want.Pepper() || !bytes.Equal(got.Dropped(), want.Dropped()) {
		t.Error("the pepper or the dropped keys are others")
	}
	for i, k := range got.Keys() {
		w := want.keys[i]
		if k.ID != w.ID || !bytes.Equal(k.secret, w.secret) || !k.SignsFrom.Equal(w.SignsFrom) || !k.Created.Equal(w.Created) {
			t.Errorf("key %d is %+v, want %+v", i, k, w)
		}
	}
	// What one signs the other verifies.
	if message := []byte("message"); want.Key(9).MAC(message) != got.Key(9).MAC(message) {
		t.Error("the same key gives another MAC")
	}
}

func TestKeyringFileIsCreatedForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	r := New(epoch)
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
	got, err := Read(path)
	if err != nil || !bytes.Equal(got.Marshal(), r.Marshal()) {
		t.Errorf("what is read is not what was written: %v", err)
	}
	onlyFile(t, path)
}

// onlyFile fails the test unless the directory of path holds path, perhaps its lock, and
// nothing else.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	es, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	es = slices.DeleteFunc(es, func(e os.DirEntry) bool { return e.Name() == filepath.Base(path)+".lock" })
	if len(es) != 1 || es[0].Name() != filepath.Base(path) {
		t.Errorf("the directory holds %v, want only %s", es, filepath.Base(path))
	}
}

func TestKeyringFileIsNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	first := New(epoch)
	if err := first.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	err := New(epoch).CreateFile(path)
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
			switch err := New(epoch).CreateFile(path); {
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
	if _, err := Read(path); err != nil {
		t.Error(err)
	}
	onlyFile(t, path)

	err := New(epoch).CreateFile(filepath.Join(t.TempDir(), "no", "such", "keyring.json"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

func TestReadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	path := filepath.Join(dir, "bad")
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name %s", err, path)
	}
}

func TestBadKeyringsAreRefusedWithoutBeingQuoted(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("qZ7"), secretLen)[:secretLen])
	key := func(id int) string {
		return fmt.Sprintf(`{"id":%d,"secret":%q,"created":"2026-01-01T00:00:00Z","signs_from":"2026-01-01T00:00:00Z"}`, id, secret)
	}
	ring := func(keys string) string { return fmt.Sprintf(`{"version":1,"pepper":%q,"keys":[%s]}`, secret, keys) }

	if _, err := Parse([]byte(ring(key(1) + "," + key(0) + "," + key(255)))); err != nil {
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
		{"a key that is no object", ring(`"` + secret + `"`)},
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
			r, err := Parse([]byte(tt.file))
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

// What a later release wrote into the file stays in it, whatever this one does to the file.
func TestUnknownMembersAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	text := `{
  "version": 1,
  "note": {"by": "a later release", "list": [1, 2.50, "<&>"]},
  "pepper": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "keys": [
    {"id": 1, "alg": "old", "secret": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "created": "2026-01-01T00:00:00Z", "signs_from": "2026-01-01T00:00:00Z"},
    {"secret": "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=", "id": 2, "created": "2026-01-02T00:00:00Z", "signs_from": "2026-01-02T04:00:00Z", "alg": null}
  ],
  "dropped": [{"id": 9, "at": "2026-01-02T00:00:00Z", "why": "leaked"}]
}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC) // key 2 waits
	for name, edit := range map[string]func(*Keyring) (*Keyring, error){
		"rotate": func(r *Keyring) (*Keyring, error) { next, _, err := r.Rotate(at, true); return next, err },
		"drop":   func(r *Keyring) (*Keyring, error) { next, _, err := r.Drop(1, at, true); return next, err },
		"prune":  func(r *Keyring) (*Keyring, error) { next, _, _ := r.Prune(at); return next, nil },
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Rewrite(path, edit); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Note    json.RawMessage
			Keys    []map[string]any
			Dropped []map[string]any
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		var note bytes.Buffer
		if err := json.Compact(&note, got.Note); err != nil || note.String() != `{"by":"a later release","list":[1,2.50,"\u003c\u0026\u003e"]}` {
			t.Errorf("%s: the note is %s, %v", name, note.String(), err)
		}
		algs := map[any]any{}
		for _, k := range got.Keys {
			if alg, ok := k["alg"]; ok {
				algs[k["id"]] = alg
			}
		}
		want := map[any]any{1.: "old", 2.: nil}
		if name == "drop" {
			delete(want, 1.)
		}
		if !maps.Equal(algs, want) || got.Dropped[0]["why"] != "leaked" {
			t.Errorf("%s: members are lost:\n%s", name, b)
		}
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
			if got := r.Signer(tt.now); got != tt.want {
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
	dropping := func(r *Keyring, ids ...byte) *Keyring {
		for _, id := range ids {
			r.drop(id, time.Time{})
		}
		return r
	}
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
		{"another key under the same id", ringOf(fixedKey(1, 9, epoch.Add(-time.Hour)), old().keys[1]), epoch, "key 1 is a different key"},
		{"another key under the same id, long after", ringOf(fixedKey(1, 9, epoch.Add(-time.Hour)), old().keys[1]), epoch.Add(MaxTokenLife), "key 1 is a different key"},
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
			keys := NewCurrent(cur, nil)
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

func TestAKeyIsLookedForOnceByItsID(t *testing.T) {
	one, two := ringOf(fixedKey(7, 0x11, epoch)), ringOf(fixedKey(7, 0x11, epoch), fixedKey(8, 8, epoch))
	for _, found := range []bool{false, true} {
		reloads := 0
		var keys *Current
		keys = NewCurrent(one, func(context.Context) {
			reloads++
			if found {
				_ = keys.Replace(two, epoch)
			}
		})
		if keys.Key(t.Context(), 7) == nil || reloads != 0 {
			t.Errorf("a known key took %d reloads", reloads)
		}
		if got := keys.Key(t.Context(), 8); (got != nil) != found || reloads != 1 {
			t.Errorf("Key(8) is %v after %d reloads, want found %v after 1", got, reloads, found)
		}
	}
	if NewCurrent(one, nil).Key(t.Context(), 8) != nil {
		t.Error("without a reload an unknown key was found")
	}
}

func FuzzParse(f *testing.F) {
	good := ringOf(fixedKey(1, 1, epoch), fixedKey(2, 2, epoch.Add(time.Hour)))
	good.drop(3, epoch)
	f.Add(good.Marshal())
	f.Add(New(epoch).Marshal())
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"version":1,"pepper":"","keys":[{"id":1}]}`))
	f.Add(bytes.ReplaceAll(good.Marshal(), []byte("2026"), []byte("9999")))
	f.Add(bytes.ReplaceAll(good.Marshal(), []byte("Z"), []byte("+23:59")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
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
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%v; it was written as %s", err, out)
		}
		if !bytes.Equal(again.Marshal(), out) {
			t.Errorf("written as %s, and then as %s", out, again.Marshal())
		}
		if r.Signer(epoch) == nil {
			t.Error("nobody signs")
		}
		if err := r.successor(again, epoch); err != nil {
			t.Errorf("a keyring is not its own successor: %v", err)
		}
	})
}
