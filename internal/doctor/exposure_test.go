package doctor

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// subjects returns what the findings of a check are about, relative to a directory.
func subjects(found []Finding, dir string) []string {
	var list []string
	for _, f := range found {
		rel, err := filepath.Rel(dir, f.Subject)
		if err != nil || strings.HasPrefix(rel, "..") {
			rel = f.Subject
		}
		list = append(list, rel)
	}
	return list
}

func TestWritable(t *testing.T) {
	base := t.TempDir()
	for i, tt := range []struct {
		name  string
		modes map[string]os.FileMode // of what is otherwise 0755 or 0600
		link  bool                   // the file is a link to one in other/
		want  []string
	}{
		{name: "nobody else's"},
		{name: "read by others", modes: map[string]os.FileMode{"etc/keys.json": 0o644}},
		{name: "the group", modes: map[string]os.FileMode{"etc/keys.json": 0o660}, want: []string{"etc/keys.json"}},
		{name: "everybody", modes: map[string]os.FileMode{"etc/keys.json": 0o606}, want: []string{"etc/keys.json"}},
		{name: "the directory", modes: map[string]os.FileMode{"etc": 0o775}, want: []string{"etc"}},
		{name: "the one above", modes: map[string]os.FileMode{".": 0o777}, want: []string{"."}},
		{name: "like /tmp", modes: map[string]os.FileMode{"etc": 0o777 | os.ModeSticky}},
		{name: "all", modes: map[string]os.FileMode{"etc/keys.json": 0o666, "etc": 0o777}, want: []string{"etc/keys.json", "etc"}},
		{name: "a link", link: true},
		{name: "the directory of a link", link: true, modes: map[string]os.FileMode{"etc": 0o777}, want: []string{"etc"}},
		{name: "where a link leads", link: true, modes: map[string]os.FileMode{"other/keys.json": 0o622}, want: []string{"etc/keys.json"}},
		{name: "the directory where a link leads", link: true, modes: map[string]os.FileMode{"other": 0o772}, want: []string{"other"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(base, fmt.Sprint(i))
			file := filepath.Join(dir, "etc", "keys.json")
			for _, d := range []string{"etc", "other"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			holds := file
			if tt.link {
				holds = filepath.Join(dir, "other", "keys.json")
				if err := os.Symlink(holds, file); err != nil {
					t.Fatal(err)
				}
			}
			write(t, holds, "x", 0o600)
			for name, mode := range tt.modes {
				if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
					t.Fatal(err)
				}
			}
			found := Writable(file, file, filepath.Join(dir, "missing"))
			if diff := cmp.Diff(tt.want, subjects(found, dir)); diff != "" {
				t.Error(diff)
			}
			for _, f := range found {
				if f.Check != WritableFiles || f.Severity != Warning || f.Fix != "chmod go-w "+f.Subject {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// The fix is a fix.
func TestWritableFix(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "it's keys.json", "x", 0o666)
	found := Writable("it's keys.json")
	if len(found) != 1 {
		t.Fatal(found)
	}
	if out, err := exec.Command("sh", "-c", found[0].Fix).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if found := Writable("it's keys.json"); len(found) > 0 {
		t.Error(found)
	}
}

func TestListeners(t *testing.T) {
	addrs := func(list ...string) (a []netip.Addr) {
		for _, s := range list {
			a = append(a, netip.MustParseAddr(s))
		}
		return a
	}
	inside := addrs("127.0.0.1", "::1", "10.1.2.3", "172.18.0.2", "192.168.1.1", "100.64.1.1", "169.254.1.1", "fe80::1%eth0", "fd00::1")
	outside := slices.Concat(inside, addrs("203.0.113.7", "2001:db8::7"))
	for _, tt := range []struct {
		listen string
		local  []netip.Addr
		want   string // "": no finding
	}{
		{"127.0.0.1:8080", outside, ""},
		{"localhost:8080", outside, ""},
		{"[::1]:8080", outside, ""},
		{"10.1.2.3:8080", outside, ""},
		{"100.64.1.1:8080", outside, ""},
		{"[fd00::1]:8080", outside, ""},
		{"[fe80::1%eth0]:8080", outside, ""},
		{":8080", inside, ""},
		{"0.0.0.0:8080", inside, ""},
		{"[::]:8080", inside, ""},
		{":8080", nil, ""},
		{"203.0.113.7:8080", inside, "203.0.113.7"},
		{"[2001:db8::7]:8080", inside, "2001:db8::7"},
		{"[::ffff:203.0.113.7]:8080", inside, "203.0.113.7"},
		{":8080", outside, "203.0.113.7"},
		{"0.0.0.0:8080", outside, "203.0.113.7"},
		{"0.0.0.0:8080", addrs("10.1.2.3", "2001:db8::7"), ""},
		{"[::]:8080", addrs("10.1.2.3", "2001:db8::7"), "2001:db8::7"},
		{"no such host.invalid:8080", outside, ""},
	} {
		public := Listeners(tt.listen, "127.0.0.1:8081", false, tt.local)
		admin := Listeners("127.0.0.1:8080", tt.listen, true, tt.local)
		if tt.want == "" {
			if len(public)+len(admin) > 0 {
				t.Errorf("%s: %v %v", tt.listen, public, admin)
			}
			continue
		}
		if len(public) != 1 || public[0].Subject != "--listen "+tt.listen || !strings.Contains(public[0].What, "("+tt.want+") without TLS") {
			t.Errorf("%s: %v", tt.listen, public)
		}
		if len(admin) != 1 || admin[0].Subject != "--admin-listen "+tt.listen || !strings.Contains(admin[0].What, "("+tt.want+")") {
			t.Errorf("%s: %v", tt.listen, admin)
		}
		if found := Listeners(tt.listen, "127.0.0.1:8081", true, tt.local); len(found) > 0 {
			t.Errorf("%s, with TLS: %v", tt.listen, found)
		}
	}
}
