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
	// settle is how long a file must be unchanged before it is read: it may be written in
	// place, and half of it may be valid.
	settle = time.Second
	// checkEvery is the shortest time between two checks. Anyone can cause one
	// with a token that names an unknown key.
	checkEvery = 200 * time.Millisecond
	// retryEvery is how long after a failure the same files are tried again: the cause
	// may not show in them (their owner, or a key that was removed too early).
	retryEvery = time.Minute
)

// Options configure a Watcher. Load is required.
type Options struct {
	// Name says in errors what is read: "the apps file".
	Name string
	// Load reads the files and replaces what was read before, or returns an error and
	// leaves that in use. It must call watch with the path of each file before it reads
	// it: these files are watched from then on, even if Load fails. It is never called
	// concurrently.
	Load func(watch func(path string)) error
	// Now is the clock of the file system; nil means time.Now.
	Now func() time.Time
	// OnResult, which may be nil, is called after each successful reload (with nil), and
	// after each new failure, once for the same state of the files. The first load is
	// not a reload.
	OnResult func(error)
}

// Watcher calls Load when the files have changed. It is safe for concurrent use.
//
// It polls paths and does not use notifications: a Kubernetes ConfigMap is changed by
// swapping a symbolic link to a directory, an editor renames, a bind mount sends no
// notification, and a check each second costs nothing.
type Watcher struct {
	o    Options
	stat func(path string) (fs.FileInfo, error) // os.Stat, which follows symbolic links

	mu      sync.Mutex
	checked time.Time     // when the files were last checked
	loaded  []fingerprint // the files at the last attempt to load them
	pending []fingerprint // the files as last found, if they differ from loaded
	since   time.Time     // when pending was first found
	failed  string        // the error of the last attempt
	tried   time.Time     // the last attempt
}

// New loads the files and returns a Watcher of them, or the error of Load.
func New(o Options) (*Watcher, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnResult == nil {
		o.OnResult = func(error) {}
	}
	w := &Watcher{o: o, stat: os.Stat}
	if err := w.load(); err != nil {
		return nil, err
	}
	return w, nil
}

// Run checks the files at an interval, until ctx ends.
func (w *Watcher) Run(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.Check(ctx)
		}
	}
}

// Check loads the files if they have changed since the last attempt and the change has
// settled. It does nothing for 200 ms after the last check. It does not wait for another
// check in progress, and returns when ctx ends, so that no request waits for a file system
// past its deadline; the check itself continues.
func (w *Watcher) Check(ctx context.Context) {
	if !w.mu.TryLock() {
		return
	}
	now := w.o.Now()
	if d := now.Sub(w.checked); d >= 0 && d < checkEvery {
		w.mu.Unlock()
		return
	}
	w.checked = now
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer w.mu.Unlock()
		w.check(now)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (w *Watcher) check(now time.Time) {
	found := w.look()
	if same(found, w.loaded) {
		w.pending = nil
		if w.failed != "" && now.Sub(w.tried) >= retryEvery {
			w.reload(now, false)
		}
		return
	}
	if !same(found, w.pending) {
		w.pending, w.since = found, now
	}
	if now.Sub(w.since) >= settle || old(found, now) {
		w.reload(now, true)
	}
}

// reload loads the files again. A failure is reported if the files have changed, or if it
// differs from the last one. If a file changed while it was read, that is not a failure:
// it was half written, and is loaded again once it has settled. (A file that is being
// truncated can show its new size before its new time, and so seem to have settled.)
func (w *Watcher) reload(now time.Time, changed bool) {
	before := w.failed
	w.pending, w.tried, w.failed = nil, now, ""
	err := w.load()
	if err != nil {
		if !same(w.look(), w.loaded) {
			w.failed = before
			return
		}
		w.failed = err.Error()
		if !changed && w.failed == before {
			return
		}
		err = fmt.Errorf("reloading %s: %w", w.o.Name, err)
	}
	w.o.OnResult(err)
}

// load loads the files, and keeps the fingerprint of each from just before it was read, so
// that the next check finds one that changes meanwhile.
func (w *Watcher) load() error {
	var loaded []fingerprint
	watched := map[string]bool{}
	err := w.o.Load(func(path string) {
		if !watched[path] {
			watched[path] = true
			loaded = append(loaded, w.fingerprint(path))
		}
	})
	w.loaded = loaded
	return err
}

// fingerprint holds what decides whether a file has changed.
type fingerprint struct {
	path string
	info fs.FileInfo // nil: there is no such file, or its metadata can't be read
}

// look returns the current fingerprints of the watched files.
func (w *Watcher) look() []fingerprint {
	found := make([]fingerprint, len(w.loaded))
	for i, f := range w.loaded {
		found[i] = w.fingerprint(f.path)
	}
	return found
}

func (w *Watcher) fingerprint(path string) fingerprint {
	info, err := w.stat(path)
	if err != nil {
		info = nil
	}
	return fingerprint{path, info}
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

// old reports whether every file exists and was last written a settle time ago or
// earlier.
func old(prints []fingerprint, now time.Time) bool {
	return !slices.ContainsFunc(prints, func(p fingerprint) bool {
		return p.info == nil || now.Sub(p.info.ModTime()) < settle
	})
}
