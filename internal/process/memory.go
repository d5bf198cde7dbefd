package process

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

// ownMemory is what the process needs apart from its callers: the runtime, the apps, the
// connections to Redis, the log.
const ownMemory = 64 << 20

// room returns how many places there are for connections.
func (p *Process) room() int {
	if p.cfg.MaxConnections > 0 {
		return p.cfg.MaxConnections
	}
	return roomFor(memoryLimit("/"), fileLimit())
}

// roomFor returns how many places there are within a limit on the memory of the process,
// and on its file descriptors. The places are worth five eighths of what the process does
// not need itself: the rest is for garbage, so that the collector need not run all the
// time.
func roomFor(memory int64, files uint64) int {
	places := max(0, memory-ownMemory) * 5 / 8 / placeSize
	return int(max(256, min(places, int64(min(files, math.MaxInt32)*7/8))))
}

// memoryLimit returns the limit on the memory of the process: GOMEMLIMIT, or nine tenths
// of the limit of its control group, which it then makes that of the Go runtime too; or
// half of what the machine has.
func memoryLimit(root string) int64 {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		return limit
	}
	if limit := cgroupLimit(root); limit < math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 9)
		return limit / 10 * 9
	}
	info, _ := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	var kib int64
	if _, err := fmt.Sscanf(string(info), "MemTotal: %d kB", &kib); err != nil {
		return 1 << 30
	}
	return kib << 10 / 2
}

// cgroupLimit returns the smallest memory limit of the control groups that the process is
// in, of version 1 or 2, or math.MaxInt64 if there is none. root is "/".
func cgroupLimit(root string) int64 {
	limit := int64(math.MaxInt64)
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		base, file := "", ""
		switch {
		case fields[0] == "0" && fields[1] == "":
			base, file = filepath.Join(root, "sys/fs/cgroup"), "memory.max"
		case fields[1] == "memory":
			base, file = filepath.Join(root, "sys/fs/cgroup/memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container, the path may be that of the host, and only the root is there.
		for path := filepath.Join("/", fields[2]); ; path = filepath.Dir(path) {
			text, err := os.ReadFile(filepath.Join(base, path, file))
			if n, parseErr := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil && parseErr == nil {
				limit = min(limit, n)
			}
			if path == "/" {
				break
			}
		}
	}
	if limit > 1<<60 { // version 1 says no limit that way
		return math.MaxInt64
	}
	return limit
}

// fileLimit returns how many file descriptors the process may have.
func fileLimit() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return l.Cur
}
