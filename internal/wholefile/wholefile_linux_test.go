package wholefile

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What needs a process of its own, with other rights or limits or to be killed, is done
// by the test binary, when the variable says what: the name of a task.
const taskVariable = "WHOLEFILE_TEST_TASK"

// nobody is a user who is neither root nor the one who runs the test.
const nobody = 65534

// tasks are what such a process does with a file.
var tasks = map[string]func(path string) error{
	"rewrite": func(path string) error { return Rewrite(path, to(newText)) },
	"create":  func(path string) error { return Create(path, []byte(newText), 0o600) },
	// The disk is full: no file may grow beyond 8 bytes.
	"rewrite on a full disk": func(path string) error { return fullDisk(func() error { return Rewrite(path, to(newText)) }) },
	"create on a full disk":  func(path string) error { return fullDisk(func() error { return Create(path, []byte(newText), 0o600) }) },
	"rewrite as nobody":      func(path string) error { return asNobody(func() error { return Rewrite(path, to(newText)) }) },
	"create as nobody":       func(path string) error { return asNobody(func() error { return Create(path, []byte(newText), 0o600) }) },
	"rewrite and never end": func(path string) error {
		return Rewrite(path, func([]byte) ([]byte, error) {
			fmt.Println("editing")
			_, err := os.Stdin.Read(make([]byte, 1)) // nobody writes there
			return []byte(newText), err
		})
	},
	"rewrite a mounted file": func(path string) error {
		if err := syscall.Mount(path, path, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("%w: %w", errNotTried, err)
		}
		return Rewrite(path, to(newText))
	},
}

var errNotTried = errors.New("not tried")

func fullDisk(do func() error) error {
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 8, Max: 8}); err != nil {
		return fmt.Errorf("%w: %w", errNotTried, err)
	}
	return do()
}

// asNobody gives up what root may do; another user has nothing to give up.
func asNobody(do func() error) error {
	if os.Geteuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			return fmt.Errorf("%w: %w", errNotTried, err)
		}
	}
	return do()
}

func TestMain(m *testing.M) {
	if task, ok := tasks[os.Getenv(taskVariable)]; ok {
		if err := task(os.Args[1]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func command(t *testing.T, task, path string) *exec.Cmd {
	t.Helper()
	if tasks[task] == nil {
		t.Fatalf("there is no task %q", task)
	}
	c := exec.CommandContext(t.Context(), os.Args[0], path)
	c.Env = append(os.Environ(), taskVariable+"="+task)
	return c
}

// run does a task in a process of its own, and returns what its error says: "" for none.
func run(t *testing.T, task, path string) string {
	t.Helper()
	out, err := command(t, task, path).Output()
	if failed := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &failed) || len(out) == 0) {
		t.Fatalf("%s: %v", task, err)
	}
	if strings.Contains(string(out), errNotTried.Error()) {
		t.Fatalf("%s: %s", task, out)
	}
	return strings.TrimSpace(string(out))
}

func chown(t *testing.T, path string, uid, gid int) {
	t.Helper()
	if err := os.Lchown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func owner(t *testing.T, path string) string {
	t.Helper()
	s := stat(t, path).Sys().(*syscall.Stat_t)
	return strconv.Itoa(int(s.Uid)) + ":" + strconv.Itoa(int(s.Gid))
}

// open lets everybody into the directories of a test.
func open(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// root reports whether the test may give files away; where it may not, the run says what
// it could not show.
func root(t *testing.T, what string) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Attr("substitute", "The owner of a file is kept: "+what+" Giving files away is not permitted.")
	}
	return os.Geteuid() == 0
}

func TestOwnerIsKept(t *testing.T) {
	for _, want := range []string{"12345:54321", "0:54321", "12345:0"} {
		path := file(t, 0o640)
		if !root(t, "shown of the user's own files only.") {
			want = owner(t, path)
		} else {
			uid, gid, _ := strings.Cut(want, ":")
			u, _ := strconv.Atoi(uid)
			g, _ := strconv.Atoi(gid)
			chown(t, path, u, g)
		}
		if err := Rewrite(path, to(newText)); err != nil {
			t.Fatal(err)
		}
		if got := owner(t, path); got != want || stat(t, path).Mode() != 0o640 {
			t.Errorf("owner %s, mode %v; want %s, -rw-r-----", got, stat(t, path).Mode(), want)
		}
		holds(t, path, newText)
	}
}

// Whoever can't keep the owner changes nothing: the service might not be able to read the
// file any more. A group that may do nothing with the file does not count.
func TestOwnerThatCannotBeKept(t *testing.T) {
	if !root(t, "that who can't keep it changes nothing is not shown.") {
		return
	}
	for _, tt := range []struct {
		name     string
		uid, gid int
		mode     fs.FileMode
		refused  bool
	}{
		{"another's", 0, nobody, 0o644, true},
		{"another group's", nobody, 12345, 0o640, true},
		{"another group's, which may do nothing with it", nobody, 12345, 0o604, false},
		{"its own", nobody, nobody, 0o640, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := file(t, tt.mode)
			open(t, filepath.Dir(path))
			chown(t, filepath.Dir(path), nobody, nobody)
			chown(t, path, tt.uid, tt.gid)
			said := run(t, "rewrite as nobody", path)
			if !tt.refused {
				if said != "" {
					t.Errorf("said %q", said)
				}
				holds(t, path, newText)
				return
			}
			if !strings.Contains(said, "the owner of "+path+" can't be kept") || !strings.Contains(said, "run this as its owner, or as root") {
				t.Errorf("said %q", said)
			}
			holds(t, path, oldText)
			if got := owner(t, path); got != fmt.Sprintf("%d:%d", tt.uid, tt.gid) {
				t.Errorf("owner %s", got)
			}
		})
	}
}

func TestFullDiskLeavesTheOldFileAndNothingElse(t *testing.T) {
	path := file(t, 0o640)
	for _, task := range []string{"rewrite on a full disk", "rewrite"} { // and it can be tried again
		said := run(t, task, path)
		if full := task != "rewrite"; full != strings.Contains(said, syscall.EFBIG.Error()) || !full && said != "" {
			t.Errorf("%s: said %q", task, said)
		} else if full {
			holds(t, path, oldText)
		}
	}
	holds(t, path, newText)

	dir := t.TempDir()
	if said := run(t, "create on a full disk", filepath.Join(dir, "file")); !strings.Contains(said, syscall.EFBIG.Error()) {
		t.Errorf("said %q", said)
	}
	only(t, dir)
}

func TestDeniedLeavesTheOldFileAndNothingElse(t *testing.T) {
	for _, tt := range []struct {
		name      string
		dir, mode fs.FileMode
	}{
		{"a directory that can't be written to", 0o555, 0o666},
		{"a file that can't be read", 0o777, 0o000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := file(t, tt.mode)
			dir := filepath.Dir(path)
			open(t, dir)
			if err := os.Chmod(dir, tt.dir); err != nil {
				t.Fatal(err)
			}
			said := run(t, "rewrite as nobody", path)
			created := run(t, "create as nobody", path+"2")
			if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o600)); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(said, syscall.EACCES.Error()) || !strings.Contains(said, map[fs.FileMode]string{0o555: "file.lock can't be locked", 0o777: "reading the file"}[tt.dir]) {
				t.Errorf("said %q", said)
			}
			if tt.dir == 0o555 {
				if !strings.Contains(created, syscall.EACCES.Error()) {
					t.Errorf("creating: said %q", created)
				}
				holds(t, path, oldText)
				return
			}
			holds(t, path, oldText, "file2")
		})
	}
}

// An edit that is killed leaves the old file, and its lock ends with it.
func TestAnEditThatIsKilled(t *testing.T) {
	path := file(t, 0o600)
	c := command(t, "rewrite and never end", path)
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "editing\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if said := run(t, "rewrite", path); !strings.Contains(said, "another command is changing it and has locked "+path+".lock") {
		t.Errorf("beside it: said %q", said)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	holds(t, path, oldText)
	if said := run(t, "rewrite", path); said != "" {
		t.Errorf("after it: said %q", said)
	}
	holds(t, path, newText)
}

// Docker mounts a single file when it is told to, and then nothing can take its place.
func TestAFileThatIsMountedByItself(t *testing.T) {
	path := file(t, 0o600)
	c := command(t, "rewrite a mounted file", path)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS} // the mount ends with the process
	out, err := c.Output()
	if said := string(out); err == nil || said == "" || strings.Contains(said, errNotTried.Error()) {
		t.Attr("substitute", "A file that is mounted by itself can't be replaced: not tried. Mounting is not permitted.")
	} else if !strings.Contains(said, "mount its directory instead") {
		t.Errorf("said %q", said)
	}
	holds(t, path, oldText)
}
