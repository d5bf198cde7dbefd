package reload

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// settle is how long a file must have stayed the same before it is read: it
	// may be written in place, and half of it may be valid.
	settle = time.Second
	// lookEvery is the shortest time between two looks. Anyone can cause a look
	// with a token that names an unknown key.
	lookEvery = 200 * time.Millisecond
	// retryEvery is how long after a failure the same files are tried again: what
	// was wrong need not show in them (their owner, or a key that was not to be
	// missing yet).
	retryEvery = time.Minute
)

// Options are what a Watcher is made of. Paths and Load are required.
type Options struct {
	// Name says in an error what was to be read: "the apps file".
	Name string
	// Paths are the files to look at. It is called at each look, so that it may
	// depend on what was loaded last.
	Paths func() []string
	// Load reads the files and replaces what was read before, or fails and
	// leaves it. It is never called twice at the same time.
	Load func() error
	// Now is the clock of the file system; nil means time.Now.
	Now func() time.Time
	// OnResult is told of each load that succeeded (nil), and of each failure
	// that is new: once for the state that the files are in. It may be nil.
	OnResult func(error)
}

// Watcher calls Load when the files have changed. It is safe for concurrent use.
//
// It looks at names, not at notifications: a Kubernetes ConfigMap is changed by
// swapping a symbolic link to a directory, an editor renames, a bind mount tells
// nobody, and a look each second costs nothing.
type Watcher struct {
	o Options

	mu      sync.Mutex
	looked  time.Time     // the last look
	loaded  []fingerprint // as the files were at the last attempt to load them
	pending []fingerprint // as they were found to be, if not as loaded
	since   time.Time     // when pending was first found
	failed  string        // what the last attempt failed with
	tried   time.Time     // the last attempt
}

// New returns a Watcher that takes the files for loaded as they are now. So call
// it just before the first load, which is the caller's: what changes in between
// is then read once more rather than missed.
func New(o Options) *Watcher {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnResult == nil {
		o.OnResult = func(error) {}
	}
	return &Watcher{o: o, loaded: look(o.Paths())}
}

// Run calls Check every so often, until ctx is done.
func (w *Watcher) Run(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.Check()
		}
	}
}

// Check loads the files if they have changed since the last attempt and the
// change has settled. It does nothing within 200 ms of the last look, and does
// not wait for another Check to end: no request queues behind a file system.
func (w *Watcher) Check() {
	if !w.mu.TryLock() {
		return
	}
	defer w.mu.Unlock()
	now := w.o.Now()
	if d := now.Sub(w.looked); d >= 0 && d < lookEvery {
		return
	}
	w.looked = now
	found := look(w.o.Paths())
	if same(found, w.loaded) {
		w.pending = nil
		if w.failed != "" && now.Sub(w.tried) >= retryEvery {
			w.load(found, now, false)
		}
		return
	}
	if !same(found, w.pending) {
		w.pending, w.since = found, now
	}
	if now.Sub(w.since) >= settle || old(found, now) {
		w.load(found, now, true)
	}
}

// load loads the files that were found. A failure is reported where they have
// changed, or it is another one than before.
//
// Where they change meanwhile, or the paths do, they differ from what is kept
// here as loaded, and the next Check loads them again.
func (w *Watcher) load(found []fingerprint, now time.Time, changed bool) {
	w.loaded, w.pending, w.tried = found, nil, now
	err := w.o.Load()
	before := w.failed
	w.failed = ""
	if err != nil {
		w.failed = err.Error()
		if !changed && w.failed == before {
			return
		}
		err = fmt.Errorf("reading %s again: %w", w.o.Name, err)
	}
	w.o.OnResult(err)
}

// fingerprint is all that is looked at to tell whether a file has changed.
type fingerprint struct {
	path string
	info fs.FileInfo // nil: there is no such file, or it can't be looked at
}

// look follows symbolic links.
func look(paths []string) []fingerprint {
	prints := make([]fingerprint, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		prints[i] = fingerprint{path, info}
	}
	return prints
}

func same(a, b []fingerprint) bool {
	return slices.EqualFunc(a, b, func(a, b fingerprint) bool {
		if a.path != b.path || a.info == nil || b.info == nil {
			return a == b
		}
		return os.SameFile(a.info, b.info) && a.info.Size() == b.info.Size() &&
			a.info.ModTime().Equal(b.info.ModTime()) && a.info.Mode() == b.info.Mode()
	})
}

// old tells whether every file is there and was last written a settle time ago.
func old(prints []fingerprint, now time.Time) bool {
	return !slices.ContainsFunc(prints, func(p fingerprint) bool {
		return p.info == nil || now.Sub(p.info.ModTime()) < settle
	})
}
