package gateways

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"authsvc/internal/redistest"
)

// This file tests proxies in front of authsvc: nginx as the compose stack has it, and those
// of deploy/proxies.

// waiting is a server in the place of authsvc. It answers a request for /quick at once, and
// any other once its caller has left, or the test is over.
type waiting struct {
	*httptest.Server
	began, left atomic.Int64
}

func newWaiting(t *testing.T) *waiting {
	t.Helper()
	w := &waiting{}
	over := make(chan struct{})
	w.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.URL.Path == "/quick" {
			return
		}
		w.began.Add(1)
		select {
		case <-r.Context().Done():
			w.left.Add(1)
		case <-over:
		}
	}))
	t.Cleanup(func() { close(over); w.CloseClientConnections(); w.Close() })
	return w
}

func (w *waiting) addr() string { return w.Listener.Addr().String() }

// proxy is a running proxy in front of servers in the place of authsvc.
type proxy struct {
	t        *testing.T
	http     string // the address of its listener
	tls      string // the same, with TLS and HTTP/2; "" if it has none
	ca       string // of its certificate
	log      string // the directory of its logs
	replicas [2]*waiting
}

// start runs a proxy until the test ends. configure writes its configuration and returns
// the command that runs it.
func (p *proxy) start(configure func(dir string, certs *redistest.Certs) *exec.Cmd) *proxy {
	p.t.Helper()
	certs := redistest.NewCerts(p.t)
	p.ca, p.log = certs.CAFile, p.t.TempDir()
	p.replicas = [2]*waiting{newWaiting(p.t), newWaiting(p.t)}
	s := &setup{t: p.t}
	s.run(func(addr string) *exec.Cmd {
		p.http, p.tls = addr, redistest.FreeAddr(p.t)
		return configure(p.log, certs)
	})
	return p
}

// replaced returns a text in which each old, which must occur, is replaced by new.
func replaced(t *testing.T, text string, oldNew ...string) string {
	t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("there is no %q to replace in\n%s", oldNew[i], text)
		}
		text = strings.ReplaceAll(text, oldNew[i], oldNew[i+1])
	}
	return text
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// nginxUser is what nginx needs to run as the user of the test.
func nginxUser() string {
	if os.Getuid() == 0 {
		return "user root;\n"
	}
	return ""
}

// stackNginx runs the nginx of the compose stack, with TLS, and with HTTP/2 if a test asks
// for it.
func stackNginx(t *testing.T, http2 string) *proxy {
	t.Helper()
	p := &proxy{t: t}
	return p.start(func(dir string, certs *redistest.Certs) *exec.Cmd {
		gateways, err := filepath.Abs("../../deploy/gateways")
		if err != nil {
			t.Fatal(err)
		}
		listen := replaced(t, contents(t, "../../deploy/nginx/tls/listen.conf"),
			"listen 8443 ssl", "listen "+p.tls+" ssl "+http2, "/etc/authsvc-tls/tls.crt", certs.ServerCertFile, "/etc/authsvc-tls/tls.key", certs.ServerKeyFile)
		text := replaced(t, contents(t, "../../deploy/nginx/nginx.conf"),
			"/tmp/", dir+"/", "/dev/stderr", dir+"/error.log", "/dev/stdout", dir+"/access.log",
			"listen 8080;", "listen "+p.http+";", "127.0.0.1:8082", redistest.FreeAddr(t),
			"include replicas.conf;", replaced(t, contents(t, "../../deploy/nginx/replicas.conf"), "authsvc-1:8080", p.replicas[0].addr(), "authsvc-2:8080", p.replicas[1].addr()),
			"include /etc/authsvc-nginx-tls/*.conf;", listen,
			"/etc/authsvc-gateways", gateways, "http://demo:8080", p.replicas[0].URL)
		return exec.Command(redistest.Program(t, "nginx", "/usr/sbin/nginx"), "-c", write(t, dir+"/nginx.conf", nginxUser()+text), "-e", dir+"/error.log")
	})
}

// plainNginx runs nginx as deploy/proxies has it.
func plainNginx(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{t: t}
	return p.start(func(dir string, certs *redistest.Certs) *exec.Cmd {
		text := replaced(t, contents(t, "../../deploy/proxies/nginx.conf"),
			"server 127.0.0.1:8080;", fmt.Sprintf("server %s; server %s;", p.replicas[0].addr(), p.replicas[1].addr()),
			"listen 443 ssl http2;", fmt.Sprintf("listen %s; listen %s ssl http2;", p.http, p.tls),
			"/etc/nginx/tls.crt", certs.ServerCertFile, "/etc/nginx/tls.key", certs.ServerKeyFile)
		text = fmt.Sprintf("%sdaemon off; worker_processes 1; pid %[2]s/pid; error_log %[2]s/error.log;\nevents {}\nhttp {\naccess_log %[2]s/access.log;\n%[3]s}\n", nginxUser(), dir, text)
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			text = strings.Replace(text, "http {\n", fmt.Sprintf("http {\n%s_temp_path %s/%[1]s;\n", kind, dir), 1)
		}
		return exec.Command(redistest.Program(t, "nginx", "/usr/sbin/nginx"), "-c", write(t, dir+"/nginx.conf", text), "-e", dir+"/error.log")
	})
}

// plainCaddy runs Caddy as deploy/proxies has it.
func plainCaddy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{t: t}
	return p.start(func(dir string, certs *redistest.Certs) *exec.Cmd {
		block := replaced(t, contents(t, "../../deploy/proxies/Caddyfile"), "127.0.0.1:8080", p.replicas[0].addr()+" "+p.replicas[1].addr())
		secure := replaced(t, block, "auth.example.com", "https://"+p.tls)
		text := "{\n\tauto_https off\n}\n" + replaced(t, block, "auth.example.com", "http://"+p.http) +
			strings.Replace(secure, " {\n", fmt.Sprintf(" {\n\ttls %s %s\n", certs.ServerCertFile, certs.ServerKeyFile), 1)
		cmd := exec.Command(redistest.Program(t, filepath.Join("..", "..", ".bin", "caddy")), "run", "--config", write(t, dir+"/Caddyfile", text), "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "CADDY_ADMIN=unix/"+dir+"/admin.sock")
		return cmd
	})
}

// plainHAProxy runs HAProxy as deploy/proxies has it, edited.
func plainHAProxy(t *testing.T, oldNew ...string) *proxy {
	t.Helper()
	p := &proxy{t: t}
	return p.start(func(dir string, certs *redistest.Certs) *exec.Cmd {
		pem := write(t, dir+"/tls.pem", contents(t, certs.ServerCertFile)+contents(t, certs.ServerKeyFile))
		text := replaced(t, contents(t, "../../deploy/proxies/haproxy.cfg"), append(oldNew,
			"server authsvc1 127.0.0.1:8080", fmt.Sprintf("server authsvc1 %s\n    server authsvc2 %s", p.replicas[0].addr(), p.replicas[1].addr()),
			"bind :443", fmt.Sprintf("bind %s\n    bind %s", p.http, p.tls), "/etc/haproxy/tls.pem", pem)...)
		return exec.Command("sh", "-c", `exec "$0" -db -f "$1" >"$2"`, redistest.Program(t, "haproxy", "/usr/sbin/haproxy"), write(t, dir+"/haproxy.cfg", text), dir+"/output")
	})
}

// began returns how many requests have reached the replicas, and left how many of their
// callers have left.
func (p *proxy) began() int64 { return p.replicas[0].began.Load() + p.replicas[1].began.Load() }
func (p *proxy) left() int64  { return p.replicas[0].left.Load() + p.replicas[1].left.Load() }

// leaves makes a request with send, which returns what lets its caller leave, and fails the
// test unless the replica that has it sees that.
func (p *proxy) leaves(name string, send func(t *testing.T) (leave func())) {
	p.t.Run(name, func(t *testing.T) {
		began, left := p.began(), p.left()
		leave := send(t)
		redistest.Eventually(t, "the request to arrive", func() bool { return p.began() > began })
		leave()
		redistest.Eventually(t, "the caller to have left", func() bool { return p.left() == left+p.began()-began })
	})
}

const post = "POST /oauth/token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\nclient_id=xy"

// raw sends a request over a connection, after one that was answered if it is to be kept
// alive, and leaves by closing it.
func (p *proxy) raw(keepAlive bool) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		c, err := net.Dial("tcp", p.http)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if keepAlive {
			fmt.Fprintf(c, "GET /quick HTTP/1.1\r\nHost: %s\r\n\r\n", p.http)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(res, err)
			}
		}
		fmt.Fprintf(c, post, p.http)
		return func() { c.Close() }
	}
}

// stream sends a request over HTTP/2, and leaves by resetting its stream: the connection
// stays.
func (p *proxy) stream(t *testing.T) func() {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(contents(t, p.ca)))
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	res, err := client.Get("https://" + p.tls + "/quick")
	if err != nil || res.ProtoMajor != 2 {
		t.Fatalf("%v %v", res, err)
	}
	res.Body.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+p.tls+"/oauth/token", strings.NewReader("client_id=xy"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if res, err := client.Do(r); err == nil {
			res.Body.Close()
		}
	}()
	return func() { cancel(); <-done }
}

// retried sends a request that no replica answers, so that the proxy sends it to the other
// one as well, and gives up. Neither may take its caller for one who is still there.
func (p *proxy) retried(t *testing.T) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if res, err := http.Post("http://"+p.http+"/oauth/token", "application/x-www-form-urlencoded", strings.NewReader("client_id=xy")); err == nil {
			res.Body.Close()
		}
	}()
	return func() {
		<-done
		if p.replicas[0].began.Load() == 0 || p.replicas[1].began.Load() == 0 {
			t.Error("it was not sent to the other replica")
		}
	}
}

// A proxy passes it on that its caller has left: only then does authsvc know a late request
// from a replay.
func TestProxiesPassLeavingOn(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *proxy{
		"the nginx of the stack": func(t *testing.T) *proxy { return stackNginx(t, "") },
		"that nginx with HTTP 2": func(t *testing.T) *proxy { return stackNginx(t, "http2") },
		"nginx":                  plainNginx,
		"Caddy":                  plainCaddy,
		"HAProxy":                func(t *testing.T) *proxy { return plainHAProxy(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.leaves("closed", p.raw(false))
			p.leaves("kept alive, closed", p.raw(true))
			n := 2
			if name != "the nginx of the stack" {
				p.leaves("stream reset", p.stream)
				n++
			}
			if strings.Contains(name, "nginx") { // which would else time out
				redistest.Eventually(t, "nginx to say that its client closed the request", func() bool {
					return strings.Count(contents(t, p.log+"/access.log"), " 499 ") == n
				})
			}
			if name != "Caddy" { // which doesn't send a POST again
				p.leaves("sent again by the proxy", p.retried)
			}
		})
	}
}

// It is the option in its configuration that makes HAProxy pass on that a caller has left, and
// no timeout. Without it, or with it in a backend of its own, HAProxy waits for the answer.
func TestHAProxyAbortOnClose(t *testing.T) {
	t.Parallel()
	const option = "    option abortonclose\n"
	for name, c := range map[string]struct {
		ends   string // how HAProxy's log says that a request ended
		oldNew []string
	}{
		"with the option":    {"CH", []string{"timeout server 2s", "timeout server 10m"}},
		"without the option": {"sH", []string{"timeout server 2s", "timeout server 500ms", option, ""}},
		"in a backend":       {"sH", []string{"timeout server 2s", "timeout server 500ms", option, "    default_backend authsvc\nbackend authsvc\n    mode http\n" + option, "listen auth", "frontend auth"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := plainHAProxy(t, append(c.oldNew, "    bind :443", "    option httplog\n    log stdout format raw local0\n    bind :443", "retries 1", "retries 0")...)
			p.leaves("closed", p.raw(false))
			p.leaves("kept alive, closed", p.raw(true))
			var ends [][]string
			redistest.Eventually(t, "the log of two requests", func() bool {
				ends = regexp.MustCompile(`(?m) (..)-- .*"POST /oauth/token`).FindAllStringSubmatch(contents(t, p.log+"/output"), -1)
				return len(ends) == 2
			})
			for _, end := range ends {
				if end[1] != c.ends { // C: the caller left; s: the timeout of the server
					t.Errorf("a request ended as %s; want %s, as docs/howto/behind-a-proxy.md says", end[1], c.ends)
				}
			}
		})
	}
}

// No log of the stack's nginx shows what people put by mistake where secrets don't belong,
// or what they send in headers, whatever goes wrong.
func TestStackLogsNoSecret(t *testing.T) {
	t.Parallel()
	p := stackNginx(t, "")
	const secret = "b1lling-Secret-0001"
	requests := map[string]string{
		"answered":              "GET /quick?client_secret=%s HTTP/1.1\r\nHost: x\r\nReferer: http://x/?%[1]s\r\nCookie: %[1]s\r\nAuthorization: Bearer %[1]s\r\n\r\n",
		"no replica answers":    "POST /oauth/token?client_secret=%s HTTP/1.1\r\nHost: x\r\nReferer: http://x/?%[1]s\r\nContent-Length: 0\r\n\r\n",
		"checked":               "GET /demo/x?access_token=%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %[1]s\r\n\r\n",
		"a large body":          "POST /oauth/token?client_secret=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
		"a large header":        "GET /?client_secret=%s HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("%[1]s", 5000) + "\r\n\r\n",
		"a large request line":  "GET /?client_secret=" + strings.Repeat("%s", 5000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"no host":               "GET /?client_secret=%s HTTP/1.1\r\nReferer: http://x/?%[1]s\r\n\r\n",
		"an odd header":         "GET /?client_secret=%s HTTP/1.1\r\nHost: x\r\nclient secret: %[1]s\r\n\r\n",
		"an underscore":         "GET /?client_secret=%s HTTP/1.1\r\nHost: x\r\nclient_secret: %[1]s\r\n\r\n",
		"no method":             "%s /?client_secret=%[1]s HTTP/1.1\r\nHost: x\r\n\r\n",
		"no version":            "GET /?client_secret=%s XXXX/9.9\r\nHost: x\r\n\r\n",
		"a bad escape":          "GET /%%zz?client_secret=%s HTTP/1.1\r\nHost: x\r\n\r\n",
		"out of the root":       "GET /../..?client_secret=%s HTTP/1.1\r\nHost: x\r\n\r\n",
		"two hosts":             "GET /?client_secret=%s HTTP/1.1\r\nHost: x\r\nHost: %[1]s\r\n\r\n",
		"a bad length":          "POST /?client_secret=%s HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
		"length and encoding":   "POST /?client_secret=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"a bad chunk":           "POST /?client_secret=%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%[1]s\r\n",
		"an answer of nonsense": "GET /nonsense?client_secret=%s HTTP/1.1\r\nHost: x\r\n\r\n",
		"no HTTP":               "client_secret=%s\r\n\r\n",
	}
	ask := func(addr, request string) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, request)
		_, _ = bufio.NewReader(c).ReadString('\n')
	}
	rounds := 0
	round := func() {
		rounds++
		for _, r := range requests {
			text := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(r, "%[1]s", secret), "%s", secret), "%%", "%")
			ask(p.http, text)
			ask(p.tls, text) // plain HTTP to a port with TLS
		}
	}
	round()
	for _, w := range p.replicas {
		w.CloseClientConnections()
		w.Listener.Close()
	}
	round() // without any replica
	access := contents(t, p.log+"/access.log")
	if n := strings.Count(access, "\n"); n < rounds*len(requests) || !strings.Contains(access, "/oauth/token") || !regexp.MustCompile(`(?m) 50[23] .*127\.0\.0\.1:\d+, 127\.0\.0\.1:\d+`).MatchString(access) {
		t.Errorf("the log is no use, %d lines of %d:\n%s", n, rounds*len(requests), access)
	}
	for _, name := range []string{"access.log", "error.log"} {
		if log := contents(t, p.log+"/"+name); strings.Contains(log, secret) {
			i := strings.Index(log, secret)
			t.Errorf("%s shows a secret: %s", name, log[max(0, i-300):min(len(log), i+100)])
		}
	}
}
