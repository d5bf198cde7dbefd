package reload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rig is a watcher of files in a directory, with a clock that the test moves.
// Each load reads the files and notes what is in them.
type rig struct {
	*testing.T
	dir     string
	now     time.Time
	paths   []string
	w       *Watcher
	fail    error
	loads   []string // what each load found in the first file
	results []string // what OnResult was told
	before  func()   // happens at the beginning of a load
	during  func()   // happens once a load has read the files
}

func newRig(t *testing.T, names ...string) *rig {
	r := &rig{T: t, dir: t.TempDir(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, n := range names {
		r.paths = append(r.paths, r.path(n))
		r.write(n, "first")
	}
	r.now = r.now.Add(time.Hour)
	r.w = mustNew(t, Options{
		Name: "the file",
		Load: func(watch func(string)) error {
			if r.before != nil {
				r.before()
			}
			for _, path := range r.paths {
				watch(path)
			}
			data, err := os.ReadFile(r.paths[0])
			r.loads = append(r.loads, string(data))
			if r.during != nil {
				r.during()
			}
			return errors.Join(err, r.fail)
		},
		Now: func() time.Time { return r.now },
		OnResult: func(err error) {
			r.results = append(r.results, fmt.Sprint(err))
		},
	})
	r.saw([]string{"first"}, nil) // New loads once, and reports nothing
	return r
}

func mustNew(t *testing.T, o Options) *Watcher {
	t.Helper()
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// write writes a file in place, now.
func (r *rig) write(name, text string) {
	r.Helper()
	r.must(os.WriteFile(r.path(name), []byte(text), 0o600))
	r.touch(name, r.now)
}

func (r *rig) touch(name string, at time.Time) {
	r.Helper()
	r.must(os.Chtimes(r.path(name), at, at))
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// after moves the clock on and checks.
func (r *rig) after(d time.Duration) {
	r.now = r.now.Add(d)
	r.w.Check(r.Context())
}

// settled checks as often as it takes for any change to settle, and goes on.
func (r *rig) settled() {
	for range 10 {
		r.after(time.Second)
	}
}

// saw checks what was loaded and reported since the last call.
func (r *rig) saw(loads []string, results []string) {
	r.Helper()
	if diff := cmp.Diff(loads, r.loads); diff != "" {
		r.Errorf("loads: %s", diff)
	}
	if diff := cmp.Diff(results, r.results); diff != "" {
		r.Errorf("results: %s", diff)
	}
	r.loads, r.results = nil, nil
}

const ok = "<nil>"

func TestNothingChanged(t *testing.T) {
	r := newRig(t, "file")
	r.settled()
	r.saw(nil, nil)
}

func TestChangedIsLoadedOnce(t *testing.T) {
	r := newRig(t, "file", "other")
	r.write("file", "second")
	r.settled()
	r.saw([]string{"second"}, []string{ok})

	r.write("other", "second") // any of the files
	r.settled()
	r.saw([]string{"second"}, []string{ok})
}

func TestSameSizeAndTime(t *testing.T) {
	r := newRig(t, "file")
	was, err := os.Stat(r.path("file"))
	r.must(err)

	r.write("file", "f1rst") // the same size, another time
	r.settled()
	r.saw([]string{"f1rst"}, []string{ok})

	r.write("file", "longer") // another size
	r.touch("file", was.ModTime())
	r.settled()
	r.saw([]string{"longer"}, []string{ok})

	r.write("new", "l0nger") // another file
	r.touch("new", was.ModTime())
	r.must(os.Rename(r.path("new"), r.path("file")))
	r.settled()
	r.saw([]string{"l0nger"}, []string{ok})

	r.must(os.Chmod(r.path("file"), 0o640)) // perhaps it can be read only now
	r.settled()
	r.saw([]string{"l0nger"}, []string{ok})
}

// A file that is being written is not read before it has been left alone for a second.
func TestHalfWrittenIsNotLoaded(t *testing.T) {
	r := newRig(t, "file")
	text := ""
	for range 10 {
		text += "half "
		r.write("file", text)
		r.after(600 * time.Millisecond)
		r.after(300 * time.Millisecond)
	}
	r.saw(nil, nil)
	r.after(100 * time.Millisecond) // under the rate limit
	r.after(200 * time.Millisecond)
	r.saw([]string{text}, []string{ok})
}

// Where the file system's clock is ahead, a change has settled when it was found
// twice, a second apart.
func TestTimeInTheFuture(t *testing.T) {
	r := newRig(t, "file")
	r.write("file", "second")
	r.touch("file", r.now.Add(time.Hour))
	r.after(time.Second)
	r.after(999 * time.Millisecond)
	r.saw(nil, nil)
	r.after(200 * time.Millisecond)
	r.saw([]string{"second"}, []string{ok})
}

func TestAtomicRename(t *testing.T) {
	r := newRig(t, "file")
	r.write("new", "second")
	r.now = r.now.Add(time.Second) // written a second ago, so nothing to wait for
	r.must(os.Rename(r.path("new"), r.path("file")))
	r.after(0)
	r.saw([]string{"second"}, []string{ok})
}

// A Kubernetes volume is changed by swapping the link to its directory.
func TestSymlinkSwap(t *testing.T) {
	r := newRig(t, "v1")
	r.must(os.Mkdir(r.path("a"), 0o700))
	r.must(os.Mkdir(r.path("b"), 0o700))
	r.write("a/file", "first")
	r.write("b/file", "other")
	r.must(os.Symlink("a", r.path("data")))
	r.paths = []string{r.path("data/file")}
	r.write("v1", "the path is another now")
	r.settled()
	r.saw([]string{"first"}, []string{ok})

	r.must(os.Symlink("b", r.path("tmp")))
	r.must(os.Rename(r.path("tmp"), r.path("data")))
	r.after(time.Second)
	r.saw([]string{"other"}, []string{ok})
	r.settled()
	r.saw(nil, nil)
}

func TestFailureIsReportedOnce(t *testing.T) {
	r := newRig(t, "file")
	r.fail = errors.New("bad")
	r.write("file", "second")
	r.settled()
	r.saw([]string{"second"}, []string{"reloading the file: bad"})

	r.write("file", "third") // another state is reported again
	r.settled()
	r.saw([]string{"third"}, []string{"reloading the file: bad"})

	r.fail = nil
	r.write("file", "fourth")
	r.settled()
	r.saw([]string{"fourth"}, []string{ok})
	for range 10 {
		r.after(time.Minute)
	}
	r.saw(nil, nil)
}

// What was wrong need not show in the files, so they are tried again now and
// then, without a word as long as the same is wrong.
func TestFailureIsTriedAgain(t *testing.T) {
	r := newRig(t, "file")
	r.fail = errors.New("not yet")
	r.write("file", "second")
	r.settled()
	r.saw([]string{"second"}, []string{"reloading the file: not yet"})

	r.after(time.Minute)
	r.saw([]string{"second"}, nil)
	r.after(time.Minute - time.Second)
	r.saw(nil, nil)

	r.fail = errors.New("other")
	r.after(time.Second)
	r.saw([]string{"second"}, []string{"reloading the file: other"})

	r.fail = nil
	r.after(time.Minute)
	r.saw([]string{"second"}, []string{ok})
	r.after(time.Minute)
	r.saw(nil, nil)
}

// A file that changed while it was read was half written: that is no failure of the
// whole.
func TestFailureOfAHalfWrittenFile(t *testing.T) {
	r := newRig(t, "file")
	r.fail = errors.New("half")
	r.during = func() {
		r.during = nil
		r.write("file", "whole")
	}
	r.write("file", "half")
	r.after(time.Second)
	r.saw([]string{"half"}, nil)
	r.fail = nil
	r.settled()
	r.saw([]string{"whole"}, []string{ok})

	r.fail = errors.New("bad")
	r.during = func() {
		r.during = nil
		r.write("file", "bad")
	}
	r.write("file", "half")
	r.settled()
	r.saw([]string{"half", "bad"}, []string{"reloading the file: bad"})
}

// A file that is gone is a failure, which its owner keeps the old for; not at
// once, because rm and create is a way to write a file.
func TestDeletion(t *testing.T) {
	r := newRig(t, "file")
	r.must(os.Remove(r.path("file")))
	r.after(time.Second)
	r.after(900 * time.Millisecond)
	r.saw(nil, nil)
	r.settled()
	r.saw([]string{""}, []string{"reloading the file: open " + r.path("file") + ": no such file or directory"})

	r.write("file", "back")
	r.settled()
	r.saw([]string{"back"}, []string{ok})
}

func TestDeletionForAMoment(t *testing.T) {
	r := newRig(t, "file")
	r.must(os.Remove(r.path("file")))
	r.after(900 * time.Millisecond)
	r.write("file", "back")
	r.settled()
	r.saw([]string{"back"}, []string{ok})
}

// A change that is taken back, and made again later, settles anew.
func TestChangeTakenBack(t *testing.T) {
	r := newRig(t, "file")
	away := r.path("away")
	r.must(os.Rename(r.path("file"), away))
	r.after(500 * time.Millisecond)
	r.must(os.Rename(away, r.path("file")))
	r.after(500 * time.Millisecond)
	r.must(os.Rename(r.path("file"), away))
	r.after(500 * time.Millisecond)
	r.must(os.Rename(away, r.path("file")))
	r.settled()
	r.saw(nil, nil)
}

// What changes during a load is loaded, the first one included.
func TestChangeDuringLoad(t *testing.T) {
	r := newRig(t, "file")
	r.during = func() {
		r.during = nil
		r.write("file", "third")
	}
	r.write("file", "second")
	r.settled()
	r.saw([]string{"second", "third"}, []string{ok, ok})
}

func TestChangeDuringTheFirstLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	var loads []string
	now := time.Now()
	w := mustNew(t, Options{
		Load: func(watch func(string)) error {
			watch(path)
			data, err := os.ReadFile(path)
			loads = append(loads, string(data))
			if len(loads) == 1 {
				write("second")
			}
			return err
		},
		Now: func() time.Time { return now },
	})
	for range 3 {
		now = now.Add(settle)
		w.Check(t.Context())
	}
	if diff := cmp.Diff([]string{"first", "second"}, loads); diff != "" {
		t.Error(diff)
	}
}

// A load may name more files, or fewer, than the one before it. Each is watched from
// just before it is read, so no load is repeated only because the list has changed.
func TestPathsFollowTheLoad(t *testing.T) {
	r := newRig(t, "file")
	r.write("secret", "1")
	r.before = func() { r.paths = []string{r.path("file"), r.path("secret")} }
	r.write("file", "second")
	r.settled()
	r.saw([]string{"second"}, []string{ok})

	r.write("secret", "2")
	r.settled()
	r.saw([]string{"second"}, []string{ok})

	r.before = func() { r.paths = []string{r.path("file")} }
	r.write("file", "third")
	r.settled()
	r.saw([]string{"third"}, []string{ok})
	r.write("secret", "3")
	r.settled()
	r.saw(nil, nil)
}

// The files of a load that failed are watched as well: mending any of them counts.
func TestPathsOfAFailedLoad(t *testing.T) {
	r := newRig(t, "file")
	r.before = func() { r.paths = []string{r.path("file"), r.path("secret")} }
	r.fail = errors.New("no secret")
	r.write("file", "second")
	r.settled()
	r.saw([]string{"second"}, []string{"reloading the file: no secret"})

	r.fail = nil
	r.write("secret", "1")
	r.settled()
	r.saw([]string{"second"}, []string{ok})
}

// A first load that fails is its caller's to report, in the words of the load.
func TestFirstLoadFails(t *testing.T) {
	bad := errors.New("bad")
	w, err := New(Options{
		Name: "the file", Load: func(func(string)) error { return bad },
		OnResult: func(error) { t.Error("reported") },
	})
	if w != nil || err != bad {
		t.Errorf("%v, %v", w, err)
	}
}

func TestRateLimit(t *testing.T) {
	r := newRig(t, "file")
	looks := 0
	r.w.stat = func(path string) (fs.FileInfo, error) { looks++; return os.Stat(path) }
	for range 1000 { // one second, in steps of a millisecond
		r.after(time.Millisecond)
	}
	if looks != 5 {
		t.Errorf("%d looks in a second instead of 5", looks)
	}
	r.now = r.now.Add(-time.Hour) // a clock set back does not stop it
	r.after(0)
	if looks != 6 {
		t.Error("no look after the clock was set back")
	}
}

func TestDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	loads := 0
	w := mustNew(t, Options{
		Load: func(watch func(string)) error { watch(path); loads++; return nil },
	})
	loads = 0
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	w.Check(t.Context())
	if loads != 1 {
		t.Errorf("%d loads", loads)
	}
}

func TestConcurrentChecks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	start := time.Now().Add(time.Hour)
	var clock, loading, loads atomic.Int64
	w := mustNew(t, Options{
		Load: func(watch func(string)) error {
			watch(path)
			if loading.Add(1) != 1 {
				t.Error("two loads at the same time")
			}
			loads.Add(1)
			loading.Add(-1)
			return nil
		},
		Now: func() time.Time { return start.Add(time.Duration(clock.Add(1)) * 10 * time.Millisecond) },
	})
	loads.Store(0)
	if err := os.WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				w.Check(t.Context())
			}
		})
	}
	wg.Wait()
	if n := loads.Load(); n != 1 {
		t.Errorf("%d loads of one change", n)
	}
}

// A Check does not wait for one that is under way, nor for its own load for longer
// than its context lasts: no request may hang on a slow file system.
func TestCheckDoesNotWait(t *testing.T) {
	r := newRig(t, "file")
	r.during = func() {
		r.during = nil
		r.after(time.Hour) // would deadlock
	}
	r.write("file", "second")
	r.after(time.Second)
	r.saw([]string{"second"}, []string{ok})

	loading, finish := make(chan struct{}), make(chan struct{})
	r.during = func() { close(loading); <-finish }
	r.write("file", "third")
	r.now = r.now.Add(time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-loading; cancel() }()
	r.w.Check(ctx) // would deadlock
	r.w.Check(t.Context())
	close(finish)
	r.w.mu.Lock() // once the load has ended
	defer r.w.mu.Unlock()
	r.saw([]string{"third"}, []string{ok})
}

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	synctest.Test(t, func(t *testing.T) {
		var loads []time.Duration
		start := time.Now()
		w := mustNew(t, Options{
			Load: func(watch func(string)) error { watch(path); loads = append(loads, time.Since(start)); return nil },
		})
		loads = nil
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx, time.Second); close(done) }()

		// The file is from the future here: found after 1 s, settled after 2 s.
		if err := os.WriteFile(path, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		<-time.After(10*time.Second + time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff([]time.Duration{2 * time.Second}, loads); diff != "" {
			t.Error(diff)
		}
		cancel()
		<-done
	})
}
