package wholefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	oldText = "old\n"
	newText = "new, and longer than the old one\n"
)

// file makes a file that holds oldText, in a directory of its own.
func file(t *testing.T, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(oldText), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}

// to is an edit that puts text in the place of anything.
func to(text string) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return []byte(text), nil }
}

// holds fails the test unless a file holds a text, and its directory it and these others.
func holds(t *testing.T, path, text string, others ...string) {
	t.Helper()
	if data, err := os.ReadFile(path); err != nil || string(data) != text {
		t.Errorf("the file holds %q, %v; want %q", data, err, text)
	}
	only(t, filepath.Dir(path), append(others, filepath.Base(path))...)
}

// only fails the test unless a directory has these entries and no more, but for locks,
// which stay.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			found = append(found, e.Name())
		}
	}
	for _, name := range names {
		if !strings.Contains("\x00"+strings.Join(found, "\x00")+"\x00", "\x00"+name+"\x00") {
			t.Errorf("there is no %s among %q", name, found)
		}
	}
	if len(found) != len(names) {
		t.Errorf("the directory holds %q, want %q", found, names)
	}
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestCreate(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o666, 0o400} {
		path := filepath.Join(t.TempDir(), "file")
		if err := Create(path, []byte(newText), mode); err != nil {
			t.Fatal(err)
		}
		if got := stat(t, path).Mode(); got != mode { // whatever the umask
			t.Errorf("mode %v, want %v", got, mode)
		}
		holds(t, path, newText)
	}
}

func TestCreateLeavesWhatThereIs(t *testing.T) {
	path := file(t, 0o600)
	before := stat(t, path)
	if err := Create(path, []byte(newText), 0o644); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want fs.ErrExist and the path", err)
	}
	if after := stat(t, path); !os.SameFile(before, after) || after.Mode() != 0o600 {
		t.Errorf("the file is another, or has the mode %v", after.Mode())
	}
	holds(t, path, oldText)

	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nothing", link); err != nil {
		t.Fatal(err)
	}
	if err := Create(link, []byte(newText), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("of a link to nothing: %v, want fs.ErrExist", err)
	}
	only(t, dir, "link")

	if err := Create(filepath.Join(dir, "no", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v, want fs.ErrNotExist", err)
	}
}

func TestOfManyThatCreateOneDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			switch err := Create(path, []byte(strings.Repeat(strconv.Itoa(i%10), 1<<16)), 0o600); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d made it", made.Load())
	}
	data, err := os.ReadFile(path)
	if err != nil || !whole(data) {
		t.Errorf("the file is not one that was made, %v", err)
	}
	only(t, filepath.Dir(path), "file")
}

// whole reports whether data is one letter, 65,536 times.
func whole(data []byte) bool {
	return len(data) == 1<<16 && bytes.Count(data, data[:1]) == len(data)
}

func TestRewrite(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o444, 0o666, 0o755} {
		path := file(t, mode)
		before := stat(t, path)
		err := Rewrite(path, func(was []byte) ([]byte, error) {
			if string(was) != oldText {
				t.Errorf("edits %q", was)
			}
			return []byte(newText), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// Whoever has it open goes on with the old one.
		if after := stat(t, path); os.SameFile(before, after) || after.Mode() != mode {
			t.Errorf("the same file: %v, mode %v; want another, %v", os.SameFile(before, after), after.Mode(), mode)
		}
		holds(t, path, newText)
	}
}

func TestAnEditThatChangesNothingLeavesTheFile(t *testing.T) {
	no := errors.New("no")
	for name, edit := range map[string]func([]byte) ([]byte, error){
		"fails":                 func([]byte) ([]byte, error) { return []byte(newText), no },
		"returns what it got":   func(was []byte) ([]byte, error) { return was, nil },
		"returns the same text": to(oldText),
	} {
		path := file(t, 0o640)
		before := stat(t, path)
		if err := Rewrite(path, edit); (name == "fails") != errors.Is(err, no) || name != "fails" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if after := stat(t, path); !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
			t.Errorf("%s: the file is another", name)
		}
		holds(t, path, oldText)
	}
}

func TestWhatIsNotThereIsNotRewritten(t *testing.T) {
	dir := t.TempDir()
	edit := func([]byte) ([]byte, error) { t.Error("edited"); return nil, nil }
	if err := os.Symlink("nothing", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"none", "no/file", "link"} {
		if err := Rewrite(filepath.Join(dir, name), edit); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", name, err)
		}
		only(t, dir, "link")
	}
}

// A reader finds the old file or the new, whole, at any time.
func TestReadersNeverFindHalf(t *testing.T) {
	path := file(t, 0o600)
	write := func(i int) error { return Rewrite(path, to(strings.Repeat(strconv.Itoa(i%10), 1<<16))) }
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				if data, err := os.ReadFile(path); err != nil || !whole(data) {
					t.Errorf("read %d bytes, %v", len(data), err)
					return
				}
			}
		})
	}
	for i := range 50 {
		if err := write(i); err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	readers.Wait()
}

// The lock is on a file beside the file that is changed, and is given up whatever became of
// the edit.
func TestOneEditAtATime(t *testing.T) {
	path := file(t, 0o640)
	edit := func([]byte) ([]byte, error) {
		holds(t, path, oldText)
		if mode := stat(t, path+".lock").Mode(); mode != 0o640 {
			t.Errorf("who may read the file can't lock it: mode %v", mode)
		}
		second := Rewrite(path, func([]byte) ([]byte, error) { t.Error("two edits at a time"); return nil, nil })
		if second == nil || !strings.Contains(second.Error(), "another command is changing it and has locked "+path+".lock: try again") {
			t.Errorf("the second edit: %v", second)
		}
		return []byte(newText), nil
	}
	if err := Rewrite(path, edit); err != nil {
		t.Fatal(err)
	}
	holds(t, path, newText)
	_ = Rewrite(path, func([]byte) ([]byte, error) { return nil, errors.New("no") })
	if err := Rewrite(path, to(oldText)); err != nil {
		t.Error(err)
	}
	if err := Rewrite(path, edit); err != nil {
		t.Error(err)
	}
}

// What an edit that was killed left behind is in nobody's way, whatever it is.
func TestWhatAKilledEditLeaves(t *testing.T) {
	for name, leave := range map[string]func(string) error{
		"half a file": func(path string) error { return os.WriteFile(path, []byte("half"), 0o644) },
		"a link":      func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "other"), path) },
	} {
		path := file(t, 0o600)
		if err := leave(path + ".new"); err != nil {
			t.Fatal(err)
		}
		if err := Rewrite(path, to(newText)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		holds(t, path, newText)
		if mode := stat(t, path).Mode(); mode != 0o600 {
			t.Errorf("%s: mode %v", name, mode)
		}
	}
}

func TestRead(t *testing.T) {
	path := file(t, 0o600)
	for limit := range len(oldText) + 2 {
		data, err := Read(path, limit)
		if long := limit < len(oldText); long != (err != nil) || !long && string(data) != oldText || long && data != nil {
			t.Errorf("limit %d: %q, %v", limit, data, err)
		} else if long && err.Error() != fmt.Sprintf("read %s: longer than %d bytes", path, limit) {
			t.Error(err)
		}
	}
	if _, err := Read(path+"2", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Read("/dev/zero", 1<<20); err == nil { // has no end
		t.Error("read all of it")
	}
}

// Of many edits at once, each that succeeds is in the file.
func TestNoEditIsLost(t *testing.T) {
	const editors, edits = 4, 20
	path := file(t, 0o600)
	var wg sync.WaitGroup
	for range editors {
		wg.Go(func() {
			for done := 0; done < edits; {
				err := Rewrite(path, func(was []byte) ([]byte, error) { return append(was, "line\n"...), nil })
				switch {
				case err == nil:
					done++
				case !strings.Contains(err.Error(), "another command is changing it"):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	holds(t, path, oldText+strings.Repeat("line\n", editors*edits))
}

// A link stays one: what it leads to is changed, where that is.
func TestLinks(t *testing.T) {
	path := file(t, 0o640)
	dir := t.TempDir()
	direct, relative, far := filepath.Join(dir, "direct"), filepath.Join(dir, "relative"), filepath.Join(dir, "far")
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{direct: path, relative: rel, far: "direct"} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	for i, link := range []string{direct, relative, far} {
		text := strconv.Itoa(i)
		err := Rewrite(link, func([]byte) ([]byte, error) {
			only(t, filepath.Dir(path), "file")
			if err := Rewrite(path, to(text)); err == nil {
				t.Error("who takes another way to it finds no lock")
			}
			return []byte(text), nil
		})
		if err != nil {
			t.Errorf("%s: %v", link, err)
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s is no link any more: %v, %v", link, info, err)
		}
		holds(t, path, text)
	}
	if mode := stat(t, path).Mode(); mode != 0o640 {
		t.Errorf("mode %v", mode)
	}
	only(t, dir, "direct", "relative", "far")
}

// A second name for the file keeps the old text: it names the old file.
func TestHardLinksKeepTheOldFile(t *testing.T) {
	path := file(t, 0o600)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	if err := Rewrite(path, to(newText)); err != nil {
		t.Fatal(err)
	}
	holds(t, path, newText)
	holds(t, other, oldText)
}
