package faults

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// The disk of Redis's append-only file is full. Writes are refused while it is, no
// acknowledged token is lost, no answer is wrong, and authsvc recovers automatically
// once there is space.
func TestFullDisk(t *testing.T) {
	sideBySide(t)
	t.Run("everysec", func(t *testing.T) {
		sideBySide(t)
		fullDisk(t, authsvctest.Binary(t), "everysec", false).none(t)
	})
	control(t, "everysec, and a failed write is reported as done", func(t *testing.T) {
		fullDisk(t, authsvctest.BuildPatched(t, authsvctest.FailedWriteIsDone), "everysec", false).some(t, "introspect what was acknowledged")
	})
	// With always, Redis exits rather than acknowledge what it could not write.
	t.Run("always", func(t *testing.T) {
		sideBySide(t)
		fullDisk(t, authsvctest.Binary(t), "always", true).none(t)
	})
	control(t, "everysec, and Redis exits because of the full disk", func(t *testing.T) {
		fullDisk(t, authsvctest.Binary(t), "everysec", true).some(t, "introspect what was acknowledged: not active: 200")
	})
}

// fullDisk fills the disk, and frees the space again. ends says that Redis exits
// meanwhile: on its own, or killed if it would not.
func fullDisk(t *testing.T, binary, fsync string, ends bool) *findings {
	f := &findings{}
	d := newDisk(t)
	r := redistest.Start(t, "--dir", d.dir, "--logfile", filepath.Join(t.TempDir(), "redis.log"),
		"--appendonly", "yes", "--appendfsync", fsync)
	site := authsvctest.NewSite(t)
	s := site.StartBinary(binary, r.URL(), authsvctest.Patient...)
	s.WaitReady()
	var good []authsvctest.Pair // all acknowledged pairs
	for range 4 {
		good = append(good, s.Issue(authsvctest.Worker).Pair())
	}

	d.fill(r)
	// The last page of the file has room for a few records. With everysec, Redis learns
	// that the disk is full only from the write after an answer.
	var refused authsvctest.Answer
	for range 100 {
		if refused = s.Issue(authsvctest.Worker); refused.Status != 200 {
			break
		}
		good = append(good, refused.Pair())
	}
	f.want("issue on a full disk", refused, 503, "APIG.0613")
	if ends {
		if fsync != "always" {
			r.Kill()
		}
		redistest.Eventually(t, "Redis to exit", func() bool {
			c, err := net.Dial("tcp", r.Addr())
			if err == nil {
				c.Close()
			}
			return err != nil
		})
	}
	for range size(2, 20) {
		f.want("issue on a full disk", s.Issue(authsvctest.Worker), 503, "APIG.0613")
		f.want("refresh on a full disk", s.Refresh(authsvctest.Worker, good[0].Refresh), 503, "APIG.0613")
		f.want("revoke an access token on a full disk", s.Revoke(authsvctest.Worker, good[1].Access), 503, "APIG.0613")
		f.want("revoke a refresh token on a full disk", s.Revoke(authsvctest.Worker, good[2].Refresh), 503, "APIG.0613")
		f.want("verify junk on a full disk", s.Verify("nonsense", ""), 400, "APIG.2203")
		if ends { // reads fail, too
			f.want("introspect without Redis", s.Introspect(good[0].Access), 503, "APIG.0613")
			f.want("verify without Redis", s.Verify(good[0].Access, ""), 503, "APIG.0613")
			continue
		}
		for _, p := range good {
			f.active("introspect what was acknowledged, on a full disk", s.Introspect(p.Access))
		}
		f.want("verify on a full disk", s.Verify(good[0].Access, ""), 200, "")
	}
	// If Redis can still be read, authsvc is still useful.
	if s.Ready() == ends {
		f.add("on a full disk, with %s, ready is %v", fsync, ends)
	}
	if !ends {
		late := site.StartBinary(binary, r.URL(), authsvctest.Patient...)
		late.WaitReady()
		f.active("introspect what was acknowledged, at a new process", late.Introspect(good[0].Access))
	}

	d.free(r, ends)
	start := time.Now()
	if ends {
		r.Restart() // authsvc keeps running
	}
	redistest.Eventually(t, "a token to be issued again", func() bool {
		a := s.Issue(authsvctest.Worker)
		if a.Status == 200 {
			good = append(good, a.Pair())
			return true
		}
		f.want("issue once there is room", a, 503, "APIG.0613")
		return false
	})
	figure(t, "full disk, %s: issues again %v after there is space", fsync, time.Since(start).Round(time.Millisecond))
	for _, p := range good {
		f.active("introspect what was acknowledged", s.Introspect(p.Access))
	}
	a := s.Refresh(authsvctest.Worker, good[0].Refresh)
	f.want("refresh what could not be refreshed", a, 200, "")
	f.want("revoke what could not be revoked", s.Revoke(authsvctest.Worker, good[1].Access), 200, "")
	f.want("revoke what could not be revoked", s.Revoke(authsvctest.Worker, good[2].Refresh), 200, "")

	// Now that there is space, everything gets to the disk. (With everysec, an answer
	// may be ahead of the file.)
	redistest.Eventually(t, "the append-only file to be written", func() bool {
		info := r.Client().Info(context.Background(), "persistence").Val()
		return strings.Contains(info, "aof_buffer_length:0\r") && strings.Contains(info, "aof_last_write_status:ok")
	})
	r.Restart()
	s.WaitReady()
	if b := s.Refresh(authsvctest.Worker, good[0].Refresh); a.Pair() != b.Pair() {
		f.add("after a restart of Redis a repeated refresh gets %s, not %s", b.Body, a.Body)
	}
	f.active("introspect what was refreshed", s.Introspect(a.Pair().Access))
	f.inactive("introspect what was revoked", s.Introspect(good[1].Access), "APIG.2203")
	f.want("refresh what was revoked", s.Refresh(authsvctest.Worker, good[2].Refresh), 400, "APIG.2202")
	for _, p := range good[3:] {
		f.active("introspect what was acknowledged, after a restart of Redis", s.Introspect(p.Access))
	}
	if n := s.Stderr.Count("refresh_replayed"); n > 0 {
		f.add("%d refreshes were taken for replays", n)
	}
	return f
}

// disk is the disk that Redis writes to until it is full.
type disk struct {
	t   *testing.T
	dir string
	// mounted says that it is a separate file system. Otherwise the files of Redis are
	// limited to their current size, which needs no permission.
	mounted bool
}

// newDisk mounts a tmpfs that only the mounting process sees, and accesses it through
// that process. So it needs no root if user namespaces are permitted, and is gone
// whatever happens to the test.
func newDisk(t *testing.T) disk {
	t.Helper()
	dir := t.TempDir()
	args := []string{"--mount", "sh", "-c", `mount -t tmpfs -o size=1m tmpfs "$0" && echo mounted && exec cat`, dir}
	if os.Geteuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	cmd := exec.Command("unshare", args...)
	var refused bytes.Buffer // read once the process has exited
	cmd.Stderr = &refused
	stdin, err := cmd.StdinPipe() // cat ends with it
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "mounted\n" {
		end()
		t.Attr("substitute", "Full disk: the files of Redis may not grow. Mounting a tmpfs that runs full is not permitted.")
		t.Logf("unshare: %s", refused.Bytes())
		return disk{t: t, dir: dir}
	}
	return disk{t, fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir), true}
}

func (d disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill uses up all free space.
func (d disk) fill(r *redistest.Server) {
	d.t.Helper()
	if !d.mounted {
		r.LimitFiles(d.largest())
		return
	}
	file, err := os.Create(d.ballast())
	if err != nil {
		d.t.Fatal(err)
	}
	defer file.Close()
	for page := make([]byte, 4096); err == nil; {
		_, err = file.Write(page)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
}

// free frees the space again. The limit of a Redis that has exited ended with it.
func (d disk) free(r *redistest.Server, ended bool) {
	d.t.Helper()
	switch {
	case d.mounted:
		if err := os.Remove(d.ballast()); err != nil {
			d.t.Fatal(err)
		}
	case !ended:
		r.Unlimited()
	}
}

// largest returns the size of the largest file.
func (d disk) largest() (size int64) {
	d.t.Helper()
	err := filepath.WalkDir(d.dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size = max(size, info.Size())
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return size
}
