//go:build unix

package wholefile

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives f the owner and the group of another file. The group matters only if it
// has any permission on the file.
func keepOwner(f *os.File, was fs.FileInfo) error {
	old, ok := was.Sys().(*syscall.Stat_t)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if now, same := info.Sys().(*syscall.Stat_t); !ok || !same || now.Uid == old.Uid && now.Gid == old.Gid {
		return nil
	} else if now.Uid == old.Uid && was.Mode()&0o070 == 0 {
		_ = f.Chown(-1, int(old.Gid))
		return nil
	}
	return f.Chown(int(old.Uid), int(old.Gid))
}
