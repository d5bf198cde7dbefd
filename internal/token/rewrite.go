package token

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// RewriteKeyring changes a keyring file: edit gets what it holds, and what edit
// returns takes its place, whole or not at all. An edit that fails, or returns
// what it was given, leaves the file as it is. Mode and owner are kept.
//
// The new file is written beside the old one, as path.new, which nobody else can
// make meanwhile: it is the lock against a second edit at the same time, and the
// rename that ends the edit gives the lock up.
func RewriteKeyring(path string, edit func(*Keyring) (*Keyring, error)) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil { // a link stays one
		return fmt.Errorf("reading the keyring: %w", err)
	}
	lock := path + ".new"
	f, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: another command is changing the keyring, or one was interrupted. Try again; if none is running, remove that file", lock)
	}
	if err != nil {
		return fmt.Errorf("changing the keyring: %w", err)
	}
	defer func() {
		_ = f.Close() // again, where all went well
		if err != nil {
			err = errors.Join(err, os.Remove(lock))
		}
	}()

	ring, err := ReadKeyring(path) // only now, as nobody else can change it any more
	if err != nil {
		return err
	}
	next, err := edit(ring)
	if err != nil {
		return err
	}
	if next == ring {
		return os.Remove(lock)
	}
	if err := fill(f, next, path); err != nil {
		return fmt.Errorf("changing the keyring: %w", err)
	}
	if err := os.Rename(lock, path); err != nil {
		if errors.Is(err, syscall.EBUSY) {
			err = fmt.Errorf("%w; a file that is mounted by itself can't be replaced: mount its directory instead", err)
		}
		return fmt.Errorf("changing the keyring: %w", err)
	}
	// The keyring is in place. That its directory could not be flushed as well
	// is no reason to say that it is not.
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// fill writes a keyring to f, which will take the place of the file at path.
func fill(f *os.File, ring *Keyring, path string) error {
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
	if _, err := f.Write(ring.Marshal()); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
