package process

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// The limit of the control groups, wherever it stands.
func TestCgroupLimit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		groups string
		files  map[string]string
		want   int64
	}{
		"version 2, in a container": {"0::/\n", map[string]string{"sys/fs/cgroup/memory.max": "268435456\n"}, 256 << 20},
		"version 2, of a unit":      {"0::/system.slice/authsvc.service\n", map[string]string{"sys/fs/cgroup/system.slice/authsvc.service/memory.max": "536870912\n"}, 512 << 20},
		"version 2, of a parent": {"0::/a/b\n", map[string]string{
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "1048576\n", "sys/fs/cgroup/memory.max": "2097152\n",
		}, 1 << 20},
		"version 2, none":   {"0::/a\n", map[string]string{"sys/fs/cgroup/a/memory.max": "max\n"}, math.MaxInt64},
		"version 1":         {"4:memory:/a\n2:cpu:/b\n", map[string]string{"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1048576\n"}, 1 << 20},
		"version 1, hidden": {"4:memory:/docker/4711\n", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "1048576\n"}, 1 << 20},
		"version 1, none":   {"4:memory:/\n0::/\n", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, math.MaxInt64},
		"other groups":      {"2:cpu:/a\n", map[string]string{"sys/fs/cgroup/memory.max": "1048576\n"}, math.MaxInt64},
		"no groups":         {"", nil, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			write := func(path, text string) {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("proc/self/cgroup", tt.groups)
			for path, text := range tt.files {
				write(path, text)
			}
			if got := cgroupLimit(root); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

// The places follow the memory, and the file descriptors, and there are always some.
func TestRoom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		memory int64
		files  uint64
		want   int
	}{
		{450 << 20, 65536, 7720},
		{200 << 20, 65536, 2720},
		{450 << 20, 1024, 896},
		{64 << 20, 65536, 256},
		{0, 65536, 256},
		{1 << 40, math.MaxUint64, 20970240},
	} {
		if got := roomFor(tt.memory, tt.files); got != tt.want {
			t.Errorf("%d bytes and %d files: %d places, want %d", tt.memory, tt.files, got, tt.want)
		}
	}
}
