package wholefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

// Create writes data to a new file with this mode. If there is one already, the error is
// fs.ErrExist.
func Create(path string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("creating %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Link(tmp.Name(), path) // unlike a rename it does not overwrite
	}
	if err != nil {
		return fmt.Errorf("creating %s: %w", path, err)
	}
	return nil
}

// Rewrite replaces the content of a file by what edit returns for it. If edit fails, or
// returns what it was given, the file is unchanged. A symbolic link stays one.
//
// The lock against a concurrent edit is on a file beside it, path.lock, which stays: the
// file itself is replaced by a rename, and a lock on it would go with it. The lock ends
// with its process, so that an edit that is killed blocks no other.
func Rewrite(path string, edit func(was []byte) ([]byte, error)) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return fmt.Errorf("reading the file: %w", err)
	}
	unlock, err := lock(path)
	if err != nil {
		return fmt.Errorf("changing the file: %w", err)
	}
	defer unlock()

	was, err := os.ReadFile(path) // only now: nobody else can change it any more
	if err != nil {
		return fmt.Errorf("reading the file: %w", err)
	}
	next, err := edit(was)
	if err != nil {
		return err
	}
	if bytes.Equal(next, was) {
		return nil
	}
	if err := replace(path, next); err != nil {
		return fmt.Errorf("changing the file: %w", err)
	}
	return nil
}

// lock keeps others from changing a file until unlock is called. It does not wait for them.
func lock(path string) (unlock func(), err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	l := flock.New(path+".lock", flock.SetPermissions(info.Mode().Perm()|0o600))
	_, err = os.Stat(l.Path())
	created := errors.Is(err, fs.ErrNotExist)
	locked, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("%s can't be locked: %w; its directory must be writable, on a file system with locks", l.Path(), err)
	}
	if !locked {
		return nil, fmt.Errorf("another command is changing it and has locked %s: try again when that has ended", l.Path())
	}
	if f, err := os.Open(l.Path()); err == nil && created {
		_ = keepOwner(f, info) // who may change the file should be able to lock it
		_ = f.Close()
	}
	return func() { _ = l.Unlock() }, nil
}

// replace puts a new file with this content in the place of the one at path. It is written
// beside it, as path.new, by the only process that holds the lock.
func replace(path string, data []byte) (err error) {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an edit that was killed
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close() // for the second time, if all went well
		if err != nil {
			err = errors.Join(err, os.Remove(next))
		}
	}()
	if err := fill(f, data, path); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		if errors.Is(err, syscall.EBUSY) {
			err = fmt.Errorf("%w; a file that is mounted by itself can't be replaced: mount its directory instead", err)
		}
		return err
	}
	// The file has been replaced, even if its directory can't be synced.
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// fill writes data to f, which will replace the file at path.
func fill(f *os.File, data []byte, path string) error {
	was, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := keepOwner(f, was); err != nil {
		return fmt.Errorf("the owner of %s can't be kept, and the service might not be able to read it any more; run this as its owner, or as root: %w", path, err)
	}
	if err := f.Chmod(was.Mode().Perm()); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
