package wholefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
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
// The new file is written next to the old one, as path.new, which nobody else can create
// meanwhile: it is the lock against a concurrent edit, and the rename that completes the
// edit releases it. An edit that is killed leaves it behind. A kernel lock would end with
// the process, but it is on an inode, which the rename replaces.
func Rewrite(path string, edit func(was []byte) ([]byte, error)) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return fmt.Errorf("reading the file: %w", err)
	}
	lock := path + ".new"
	f, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: another command is changing the file, or one was interrupted. Try again; if none is running, remove that file", lock)
	}
	if err != nil {
		return fmt.Errorf("changing the file: %w", err)
	}
	defer func() {
		_ = f.Close() // for the second time, if all went well
		if err != nil {
			err = errors.Join(err, os.Remove(lock))
		}
	}()

	was, err := os.ReadFile(path) // only now: nobody else can change it any more
	if err != nil {
		return fmt.Errorf("reading the file: %w", err)
	}
	next, err := edit(was)
	if err != nil {
		return err
	}
	if bytes.Equal(next, was) {
		return os.Remove(lock)
	}
	if err := fill(f, next, path); err != nil {
		return fmt.Errorf("changing the file: %w", err)
	}
	if err := os.Rename(lock, path); err != nil {
		if errors.Is(err, syscall.EBUSY) {
			err = fmt.Errorf("%w; a file that is mounted by itself can't be replaced: mount its directory instead", err)
		}
		return fmt.Errorf("changing the file: %w", err)
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
