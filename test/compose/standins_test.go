//go:build compose

package compose

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// images makes sure that every image in the Dockerfile and the compose file exists.
func images(t *testing.T) {
	t.Helper()
	for name, build := range map[string]func(*testing.T, *rootfs) []string{
		"golang": goStandIn, "redis": redisStandIn, "nginx": nginxStandIn, "prom/prometheus": prometheusStandIn,
	} {
		image := named(t, name)
		label, err := exec.Command("docker", "image", "inspect", "-f", `{{index .Config.Labels "`+standInLabel+`"}}`, image).Output()
		if mark := strings.TrimSpace(string(label)); err == nil && (mark == "" || mark == madeOf(t)) {
			continue
		}
		if os.Getenv("COMPOSE_TEST_PULL") == "1" {
			docker(t, "pull", "-q", image)
			continue
		}
		t.Logf("%s is missing: a stand-in replaces it", image)
		standIn(t, image, build)
		if os.Getenv("COMPOSE_TEST_KEEP") != "1" {
			t.Cleanup(func() { removeImage(image) })
		}
	}
}

// named returns the only image of this name in the Dockerfile and the compose file,
// with its tag: a full version.
func named(t *testing.T, name string) string {
	t.Helper()
	re := regexp.MustCompile(`(?m)(?:image: |GO_IMAGE=)(` + regexp.QuoteMeta(name) + `:v?\d+\.\d+\.\d+\S*)$`)
	found := map[string]bool{}
	var image string
	for _, file := range []string{"docker-compose.yml", "deploy/Dockerfile"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range re.FindAllSubmatch(text, -1) {
			image = string(m[1])
			found[image] = true
		}
	}
	if len(found) != 1 {
		t.Fatalf("images of %s with a full version: %v; want one", name, found)
	}
	return image
}

// standIn imports a file system as an image. build fills it, and returns settings for
// the image in the syntax of a Dockerfile.
func standIn(t *testing.T, image string, build func(*testing.T, *rootfs) []string) {
	t.Helper()
	var spool bytes.Buffer
	to := &rootfs{t: t, w: tar.NewWriter(&spool), has: map[string]bool{}}
	to.dir("/tmp", 0o1777, 0, 0)
	settings := build(t, to)
	if err := to.w.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"import"}
	for _, s := range append(settings, "LABEL "+standInLabel+"="+madeOf(t)) {
		args = append(args, "--change", s)
	}
	cmd := exec.Command("docker", append(args, "-", image)...)
	cmd.Stdin = &spool
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", image, err, out)
	}
}

// standInLabel marks a stand-in, with what it was made of.
const standInLabel = "authsvc.stand-in"

// madeOf returns a value that changes with the modules in a stand-in.
func madeOf(t *testing.T) string {
	t.Helper()
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(sums))
}

const path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func redisStandIn(_ *testing.T, to *rootfs) []string {
	to.shell()
	to.users("redis:x:999:999::/data:/bin/sh")
	to.program("redis-server", "/usr/local/bin/redis-server")
	to.program("redis-cli", "/usr/local/bin/redis-cli")
	for _, p := range []string{"redis-sentinel", "redis-check-rdb"} {
		to.link("/usr/local/bin/"+p, "redis-server")
	}
	to.dir("/data", 0o755, 999, 999)
	return []string{path, "WORKDIR /data", "VOLUME /data"}
}

func nginxStandIn(_ *testing.T, to *rootfs) []string {
	to.shell()
	to.users("nginx:x:101:101::/nonexistent:/bin/false")
	to.program("/usr/sbin/nginx", "/usr/sbin/nginx")
	to.program("curl", "/usr/bin/curl")
	for _, d := range []string{"/etc/nginx", "/var/log/nginx", "/var/lib/nginx"} {
		to.dir(d, 0o755, 0, 0)
	}
	return []string{path}
}

func prometheusStandIn(_ *testing.T, to *rootfs) []string {
	to.shell()
	to.users("nobody:x:65534:65534::/home:/bin/false")
	to.program("prometheus", "/bin/prometheus")
	to.program("promtool", "/bin/promtool")
	to.dir("/etc/prometheus", 0o755, 0, 0)
	to.dir("/prometheus", 0o755, 65534, 65534)
	return []string{path, "USER nobody", "WORKDIR /prometheus", "VOLUME /prometheus"}
}

// goStandIn adds the local toolchain, a module proxy in a directory with the modules of
// go.mod, and a build cache in which they are already compiled.
func goStandIn(t *testing.T, to *rootfs) []string {
	to.shell()
	to.users()
	goroot := goEnv(t, "GOROOT")
	for _, d := range []string{"bin", "pkg", "src", "lib", "VERSION", "go.env"} {
		to.tree(filepath.Join(goroot, d), "/usr/local/go/"+d)
	}
	to.file("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
	cmd := exec.Command("go", "mod", "download", "-json")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		t.Fatal("go mod download: ", err)
	}
	cache := filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download")
	for dec := json.NewDecoder(bytes.NewReader(list)); ; {
		var m struct{ Info, GoMod, Zip string }
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{m.Info, m.GoMod, m.Zip} {
			to.file(file, "/proxy"+strings.TrimPrefix(file, cache))
		}
	}
	// Also the go.mod files of modules that only these modules need, and we don't.
	err = filepath.WalkDir(cache, func(p string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".mod") {
			to.file(p, "/proxy"+strings.TrimPrefix(p, cache))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	to.tree(builtHere(t).cache, "/gocache")
	return []string{
		"ENV GOCACHE=/gocache", "ENV PATH=/usr/local/go/bin:/usr/bin:/bin", "ENV GOPATH=/go", "ENV GOTOOLCHAIN=local", "ENV GOFLAGS=-modcacherw",
		"ENV GOPROXY=file:///proxy", "ENV GOSUMDB=off", "ENV HOME=/tmp",
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// rootfs is a file system under construction.
type rootfs struct {
	t   *testing.T
	w   *tar.Writer
	has map[string]bool
}

func (r *rootfs) add(h *tar.Header, from io.Reader) {
	r.t.Helper()
	if r.has[h.Name] {
		return
	}
	r.has[h.Name] = true
	h.ModTime = time.Now() // go drops old cache entries
	if err := r.w.WriteHeader(h); err != nil {
		r.t.Fatal(h.Name, err)
	}
	if from != nil {
		if _, err := io.Copy(r.w, from); err != nil {
			r.t.Fatal(h.Name, err)
		}
	}
}

func (r *rootfs) dir(path string, mode int64, uid, gid int) {
	r.t.Helper()
	r.add(&tar.Header{Typeflag: tar.TypeDir, Name: path[1:] + "/", Mode: mode, Uid: uid, Gid: gid}, nil)
}

func (r *rootfs) text(path, text string) {
	r.t.Helper()
	r.add(&tar.Header{Typeflag: tar.TypeReg, Name: path[1:], Mode: 0o644, Size: int64(len(text))}, strings.NewReader(text))
}

func (r *rootfs) link(path, to string) {
	r.t.Helper()
	r.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: path[1:], Linkname: to}, nil)
}

// file copies a file of this machine; for a link, its target.
func (r *rootfs) file(from, to string) {
	r.t.Helper()
	f, err := os.Open(from)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		r.t.Fatal(err)
	}
	r.add(&tar.Header{Typeflag: tar.TypeReg, Name: to[1:], Mode: int64(info.Mode().Perm()), Size: info.Size()}, f)
}

// tree copies a file, or everything below a directory.
func (r *rootfs) tree(from, to string) {
	r.t.Helper()
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			r.file(p, to+strings.TrimPrefix(p, from))
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

var library = regexp.MustCompile(`(/\S+) \(0x`)

// program copies a program, and the libraries that it is linked with.
func (r *rootfs) program(name, to string) {
	r.t.Helper()
	from, err := exec.LookPath(name)
	if err != nil {
		r.t.Fatalf("%s is not installed; 'make deps-compose' installs it", name)
	}
	r.file(from, to)
	out, err := exec.Command("ldd", from).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return
		}
		r.t.Fatalf("ldd %s: %v\n%s", from, err, out)
	}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if m := library.FindStringSubmatch(s.Text()); m != nil {
			r.file(m[1], m[1])
		}
	}
}

// shell adds what scripts and health checks use.
func (r *rootfs) shell() {
	r.t.Helper()
	r.program("busybox", "/bin/busybox")
	for _, p := range []string{"sh", "cat", "cp", "grep", "mkdir", "mv", "ls", "sleep", "chmod", "rm", "id"} {
		r.link("/bin/"+p, "busybox")
	}
}

// users adds root and these lines of /etc/passwd.
func (r *rootfs) users(lines ...string) {
	r.t.Helper()
	r.text("/etc/passwd", strings.Join(append([]string{"root:x:0:0::/root:/bin/sh"}, lines...), "\n")+"\n")
	r.text("/etc/nsswitch.conf", "hosts: files dns\n")
}
