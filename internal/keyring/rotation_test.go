package keyring

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// states is each key of a keyring with its state, oldest first.
func states(r *Keyring, now time.Time) []State {
	var all []State
	for _, k := range r.Keys() {
		all = append(all, r.State(k, now))
	}
	return all
}

func ids(r *Keyring) []byte {
	var all []byte
	for _, k := range r.Keys() {
		all = append(all, k.ID)
	}
	return all
}

func TestTheStatesOfKeys(t *testing.T) {
	const life = MaxTokenLife + spare
	two := ringOf(fixedKey(1, 1, epoch), fixedKey(2, 2, epoch.Add(time.Hour)))
	for _, tt := range []struct {
		name string
		ring *Keyring
		now  time.Time
		want []State
	}{
		{"one key", ringOf(fixedKey(1, 1, epoch)), epoch, []State{Signing}},
		{"one key, however old", ringOf(fixedKey(1, 1, epoch)), epoch.Add(1000 * life), []State{Signing}},
		{"one key from a clock that is ahead", ringOf(fixedKey(1, 1, epoch)), epoch.Add(-time.Hour), []State{Signing}},
		{"the second waits", two, epoch.Add(time.Hour - 1), []State{Signing, Waiting}},
		{"the second signs", two, epoch.Add(time.Hour), []State{Verifying, Signing}},
		{"just before the first is of no use", two, epoch.Add(time.Hour + life - 1), []State{Verifying, Signing}},
		{"the first is of no use", two, epoch.Add(time.Hour + life), []State{Prunable, Signing}},
	} {
		if got := states(tt.ring, tt.now); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestARotationAddsAKeyThatWaits(t *testing.T) {
	old := ringOf(fixedKey(1, 1, epoch))
	for _, tt := range []struct {
		insist bool
		lead   time.Duration
	}{{false, 5 * time.Minute}, {true, 3 * time.Second}} {
		next, key, err := old.Rotate(epoch, tt.insist)
		if err != nil {
			t.Fatal(err)
		}
		now := epoch.Truncate(time.Second)
		if key.ID != 2 || !key.Created.Equal(now) || !key.SignsFrom.Equal(now.Add(tt.lead)) {
			t.Errorf("insist %v: key %d created %v signs from %v", tt.insist, key.ID, key.Created, key.SignsFrom)
		}
		if len(key.secret) != secretLen || bytes.Equal(key.secret, old.keys[0].secret) {
			t.Error("the new key has no secret of its own")
		}
		if got := states(next, epoch); !slices.Equal(got, []State{Signing, Waiting}) {
			t.Errorf("insist %v: %v", tt.insist, got)
		}
		if err := NewCurrent(old, nil).Replace(next, epoch); err != nil {
			t.Errorf("a running server refuses it: %v", err)
		}
		if len(old.Keys()) != 1 || old.Key(2) != nil {
			t.Error("the old keyring was changed")
		}
	}
}

func TestARotationThatIsUnderWay(t *testing.T) {
	old := ringOf(fixedKey(1, 1, epoch.Add(-time.Hour)))
	waiting, second, err := old.Rotate(epoch, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := waiting.Rotate(epoch.Add(RotateLead-time.Second), false); err == nil || !strings.Contains(err.Error(), "--now") {
		t.Errorf("a second rotation: %v, want an error that names --now", err)
	}
	// Insisting lets the key that waits sign, and adds no other.
	next, key, err := waiting.Rotate(epoch, true)
	if err != nil {
		t.Fatal(err)
	}
	if key.ID != 2 || !bytes.Equal(key.secret, second.secret) || !key.SignsFrom.Equal(epoch.Truncate(time.Second).Add(HastyLead)) || !slices.Equal(ids(next), []byte{1, 2}) {
		t.Errorf("key %d signs from %v in %v", key.ID, key.SignsFrom, ids(next))
	}
	if err := NewCurrent(waiting, nil).Replace(next, epoch); err != nil {
		t.Errorf("a running server refuses it: %v", err)
	}
	// Insisting again does not put it off.
	if again, _, err := next.Rotate(epoch.Add(time.Second), true); err != nil || again != next {
		t.Errorf("insisting again: %v, changed %v", err, again != next)
	}
	// Once it signs, the next can come.
	if third, key, err := waiting.Rotate(epoch.Add(RotateLead), false); err != nil || key.ID != 3 || len(third.Keys()) != 3 {
		t.Errorf("the next rotation: %v", err)
	}
}

func TestAKeyFromAClockThatIsAheadDoesNotSignInPlaceOfTheNext(t *testing.T) {
	old := ringOf(fixedKey(1, 1, epoch.Add(24*time.Hour)))
	next, key, err := old.Rotate(epoch, true)
	if err != nil {
		t.Fatal(err)
	}
	if next.Signer(epoch.Add(48*time.Hour)) != key {
		t.Error("the old key signs in the end")
	}
}

func TestIDsGoRoundAndAreNotTakenTwice(t *testing.T) {
	at := func(id, minute int) *Key {
		return fixedKey(byte(id), byte(id), epoch.Add(time.Duration(minute-600)*time.Minute))
	}
	full, dropped := ringOf(), ringOf(at(255, 0))
	for id := range 256 {
		full.add(at(id, id))
		if id < 255 {
			dropped.drop(byte(id), epoch)
		}
	}
	skip := ringOf(at(0, 0), at(254, 1))
	skip.drop(255, epoch)
	skip.drop(1, epoch)
	for _, tt := range []struct {
		name string
		ring *Keyring
		want int // -1: there is none
	}{
		{"after 1", ringOf(at(1, 0)), 2},
		{"after the newest, not the highest", ringOf(at(9, 0), at(3, 1)), 4},
		{"a free one in between is left for later", ringOf(at(1, 0), at(5, 1)), 6},
		{"0 after 255", ringOf(at(255, 0)), 0},
		{"past those in use, and past the dropped", skip, 2},
		{"all in use", full, -1},
		{"all in use or dropped", dropped, -1},
	} {
		_, key, err := tt.ring.Rotate(epoch, false)
		switch {
		case tt.want < 0:
			if err == nil || !strings.Contains(err.Error(), "keys prune") {
				t.Errorf("%s: %v, want an error that names keys prune", tt.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case int(key.ID) != tt.want:
			t.Errorf("%s: id %d, want %d", tt.name, key.ID, tt.want)
		}
	}
}

func TestADroppedKeyEndsAndStaysAway(t *testing.T) {
	both := ringOf(fixedKey(1, 1, epoch.Add(-time.Hour)), fixedKey(2, 2, epoch.Add(-time.Minute)))
	next, added, err := both.Drop(2, epoch, false)
	if err != nil || added != nil {
		t.Fatal(err)
	}
	if at, ok := next.DroppedAt(2); !ok || !at.Equal(epoch.Truncate(time.Second)) || !slices.Equal(next.Dropped(), []byte{2}) {
		t.Errorf("dropped %v at %v", next.Dropped(), at)
	}
	if !slices.Equal(ids(next), []byte{1}) || next.Signer(epoch).ID != 1 {
		t.Errorf("keys %v", ids(next))
	}
	keys := NewCurrent(both, nil)
	if err := keys.Replace(next, epoch); err != nil {
		t.Fatalf("a running server refuses it: %v", err)
	}
	// An old copy of the file does not bring it back.
	if err := keys.Replace(both, epoch.Add(MaxTokenLife-time.Second)); err == nil || !strings.Contains(err.Error(), "bring it back") {
		t.Errorf("the old keyring again: %v", err)
	}
	for _, id := range []byte{2, 7} {
		if _, _, err := next.Drop(id, epoch, true); err == nil {
			t.Errorf("key %d, which is not there, was dropped", id)
		}
	}
}

func TestTheOnlyKeyIsDroppedWithAnotherInItsPlace(t *testing.T) {
	only := ringOf(fixedKey(255, 1, epoch))
	if _, _, err := only.Drop(255, epoch, false); err == nil || !strings.Contains(err.Error(), "--replace") || !strings.Contains(err.Error(), "rotate --now") {
		t.Errorf("error %v, want one that names --replace and rotate --now", err)
	}
	next, added, err := only.Drop(255, epoch, true)
	if err != nil {
		t.Fatal(err)
	}
	if added.ID != 0 || next.Signer(epoch) != added || !slices.Equal(ids(next), []byte{0}) {
		t.Errorf("key %d was added; keys %v", added.ID, ids(next))
	}
	if err := NewCurrent(only, nil).Replace(next, epoch); err != nil {
		t.Errorf("a running server refuses it: %v", err)
	}
	// Two of them, and both leaked: one after the other.
	both := ringOf(fixedKey(1, 1, epoch.Add(-time.Hour)), fixedKey(2, 2, epoch.Add(-time.Minute)))
	first, three, err := both.Drop(2, epoch, true)
	if err != nil || three.ID != 3 || first.Signer(epoch).ID != 1 || first.Signer(epoch.Add(HastyLead)) != three {
		t.Fatalf("drop 2: %v, key %v", err, three)
	}
	last, _, err := first.Drop(1, epoch, false)
	if err != nil || last.Signer(epoch).ID != 3 || !slices.Equal(last.Dropped(), []byte{2, 1}) {
		t.Errorf("drop 1: %v", err)
	}
}

func TestPruningForgetsOnlyWhatCanHaveNoLivingToken(t *testing.T) {
	const life = MaxTokenLife + spare
	r := ringOf(fixedKey(1, 1, epoch.Add(-3*life)), fixedKey(2, 2, epoch.Add(-2*life)), fixedKey(3, 3, epoch.Add(-life+1)), fixedKey(4, 4, epoch.Add(time.Minute)))
	r.drop(8, epoch.Add(-life))
	r.drop(9, epoch.Add(-life+1))
	next, pruned, forgotten := r.Prune(epoch)
	if !slices.Equal(pruned, []byte{1}) || !slices.Equal(forgotten, []byte{8}) {
		t.Errorf("pruned %v, forgot %v; want 1 and 8", pruned, forgotten)
	}
	if !slices.Equal(ids(next), []byte{2, 3, 4}) || !slices.Equal(next.Dropped(), []byte{9}) || next.Key(1) != nil {
		t.Errorf("left are %v and dropped %v", ids(next), next.Dropped())
	}
	// A server whose clock is nearly an hour behind takes it as well.
	if err := NewCurrent(r, nil).Replace(next, epoch.Add(-spare+time.Second)); err != nil {
		t.Errorf("a running server refuses it: %v", err)
	}
	if len(ids(r)) != 4 || len(r.Dropped()) != 2 || r.Key(1) == nil {
		t.Error("the old keyring was changed")
	}
	// What was forgotten can come back as another key, even for a server that
	// has missed the keyrings in between.
	reused := next.copy()
	reused.add(fixedKey(8, 88, epoch))
	if err := NewCurrent(r, nil).Replace(reused, epoch); err != nil {
		t.Errorf("a running server refuses an id that is used again: %v", err)
	}
	if _, pruned, forgotten := next.Prune(epoch); len(pruned)+len(forgotten) != 0 {
		t.Errorf("pruned %v and forgot %v twice", pruned, forgotten)
	}
}

// keyringFileOf writes a keyring to a file of its own.
func keyringFileOf(t *testing.T, r *Keyring) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring.json")
	if err := r.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestARewriteKeepsModeAndLinks(t *testing.T) {
	path := keyringFileOf(t, New(epoch))
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	err := Rewrite(link, func(r *Keyring) (*Keyring, error) {
		next, _, err := r.Rotate(epoch, false)
		return next, err
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want -rw-r-----", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is none any more: %v, %v", info, err)
	}
	if r, err := Read(path); err != nil || len(r.Keys()) != 2 {
		t.Errorf("not rewritten: %v", err)
	}
	onlyFile(t, path)
}

func TestARewriteThatFailsLeavesTheFileAlone(t *testing.T) {
	path := keyringFileOf(t, New(epoch))
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("no")
	for name, edit := range map[string]func(*Keyring) (*Keyring, error){
		"fails":           func(*Keyring) (*Keyring, error) { return nil, refused },
		"changes nothing": func(r *Keyring) (*Keyring, error) { return r, nil },
	} {
		if err := Rewrite(path, edit); (name == "fails") != errors.Is(err, refused) {
			t.Errorf("an edit that %s: %v", name, err)
		}
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("after an edit that %s the file is another", name)
		}
		onlyFile(t, path)
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	edit := func(*Keyring) (*Keyring, error) { t.Error("edited"); return nil, nil }
	if err := Rewrite(bad, edit); err == nil {
		t.Error("a bad keyring was rewritten")
	}
	onlyFile(t, bad)
	if err := Rewrite(filepath.Join(t.TempDir(), "none"), edit); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

// Of many edits at once none is lost: each that succeeds is in the file.
func TestNoRewriteIsLost(t *testing.T) {
	path := keyringFileOf(t, New(epoch))
	var done atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			// Each at its own time, so that no rotation waits for another.
			at := epoch.Add(time.Duration(i+1) * time.Hour)
			if err := Rewrite(path, func(r *Keyring) (*Keyring, error) { next, _, err := r.with(at, at); return next, err }); err == nil {
				done.Add(1)
			}
		})
	}
	wg.Wait()
	r, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Keys()); n != 1+int(done.Load()) || n == 1 {
		t.Errorf("%d keys after %d rewrites that succeeded", n, done.Load())
	}
	onlyFile(t, path)
}
