package wholefile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Read returns the content of a file, or an error if it is longer than limit bytes: a file
// that a running service reads again must not take all its memory, whatever was put in its
// place.
func Read(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("longer than %d bytes", limit)}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
