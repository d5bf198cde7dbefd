package faults

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// memoryLimit is that of the systemd unit (MemoryMax), and goMemory its GOMEMLIMIT.
const (
	memoryLimit = 512 << 20
	goMemory    = "450MiB"
)

// A hold is a way to make a server hold memory for a connection, without credentials.
type hold struct {
	name  string
	alpn  string             // "": without TLS
	full  int                // connections of the full form
	send  func(net.Conn) any // what it returns is kept until the end
	idles bool               // the connections count as idle, so that a new one takes the place of one
}

// Strangers hold as much as they can, each in one way. The memory stays within its limit,
// a caller is served, or told why not, and the probes get their answers.
func TestStrangersHoldMemory(t *testing.T) {
	sideBySide(t)
	certs := redistest.NewCerts(t)
	binary := authsvctest.BuildPlain(t)
	for _, h := range holds() {
		t.Run(h.name, func(t *testing.T) {
			sideBySide(t)
			strangersHold(t, binary, certs, h).none(t)
		})
	}
	control(t, "nothing is limited", func(t *testing.T) {
		patched := authsvctest.BuildPatched(t, authsvctest.StrangersFill)
		for _, h := range holds() {
			switch h.name {
			case "half a head: one long header", "half a head: tiny headers", "HTTP/2: open bodies":
				strangersHold(t, patched, certs, h).some(t, "memory")
			}
		}
	})
}

func strangersHold(t *testing.T, binary string, certs *redistest.Certs, h hold) *findings {
	// The short form has few places, and room for as many connections as those and more.
	connections, limit, args := h.full, memoryLimit, []string{}
	if !*full {
		connections, limit, args = min(h.full, 300), 120<<20, []string{"--max-connections", "256"}
	}
	scheme := "http://"
	if h.alpn != "" {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		certs.InstallServer(t, cert, key)
		args = append(args, "--tls-cert", cert, "--tls-key", key)
		scheme = "https://"
	}
	s := authsvctest.NewSite(t).StartBinary(limited(t, binary), "memory://", args...)
	s.WaitReady()
	s.Client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}

	f := &findings{}
	var kept sync.Map
	var wg sync.WaitGroup
	var next, opened atomic.Int64
	for range 32 {
		wg.Go(func() {
			for next.Add(1) <= int64(connections) {
				conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.URL, scheme), 2*time.Second)
				if err != nil {
					continue // the backlog is full
				}
				kept.Store(conn, nil)
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // to send it
				if h.alpn != "" && h.alpn != "-" {
					over := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{h.alpn}})
					if over.Handshake() != nil {
						continue // there are enough connections of HTTP/2
					}
					conn = over
				}
				kept.Store(conn, h.send(conn))
				opened.Add(1)
			}
		})
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	served, refused := 0, 0
	for {
		if live, err := http.Get(s.Admin + "/livez"); err != nil {
			f.add("the probe: %v", err)
		} else {
			_ = live.Body.Close()
		}
		switch a, err := s.Post("/oauth/token", authsvctest.Worker, "grant_type", "client_credentials"); {
		case err == nil && a.Status == 200:
			served++
		case err == nil && a.Status == 503 && a.Text("error_code") == "APIG.0613":
			refused++
		case h.idles:
			f.add("another caller: %d %s, %v", a.Status, a.Body, err)
		}
		select {
		case <-ended:
		case <-s.Ended:
			f.add("memory: the process ended")
			return f
		default:
			continue
		}
		break
	}
	servedAgain := func() bool {
		a, err := s.Post("/oauth/token", authsvctest.Worker, "grant_type", "client_credentials")
		return err == nil && a.Status == 200
	}
	if h.idles {
		redistest.Eventually(t, "another caller to be served", servedAgain)
	}
	peak := s.PeakMemory()
	if peak > limit {
		f.add("memory: %d MiB for %d connections", peak>>20, opened.Load())
	}
	figure(t, "strangers: %s: %d connections: peak of %d MiB; other callers: %d served, %d refused", h.name, opened.Load(), peak>>20, served, refused)
	kept.Range(func(conn, _ any) bool { _ = conn.(net.Conn).Close(); return true })
	s.Client.Transport.(*http.Transport).CloseIdleConnections()
	redistest.Eventually(t, "callers to be served again", servedAgain)
	return f
}

// limited returns a program that runs another with the memory limit of the unit.
func limited(t *testing.T, binary string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authsvc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nGOMEMLIMIT="+goMemory+" exec "+binary+` "$@"`+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func holds() []hold {
	text := func(s string) func(net.Conn) any {
		return func(c net.Conn) any { _, err := io.WriteString(c, s); return err }
	}
	const mib = 1 << 20
	var names strings.Builder
	for i := 0; names.Len() < mib; i++ {
		fmt.Fprintf(&names, "%c%c%c:\r\n", 'a'+i%26, 'a'+i/26%26, 'a'+i/676%26)
	}
	const get, post = "GET / HTTP/1.1\r\nHost: x\r\n", "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	list := []hold{
		{name: "half a head: one long header", full: 2000, idles: true, send: text(get + "A: " + strings.Repeat("x", mib))},
		{name: "half a head: 190 KiB", full: 2000, idles: true, send: text(get + "A: " + strings.Repeat("x", 190<<10))},
		{name: "half a head: tiny headers", full: 2000, idles: true, send: text(get + names.String())},
		{name: "half a head: 1,000 headers", full: 9000, idles: true, send: text(get + names.String()[:5900])},
		{name: "half a head: folded lines", full: 2000, idles: true, send: text(get + "A: x\r\n" + strings.Repeat(" x\r\n", mib/4))},
		{name: "half a request line", full: 2000, idles: true, send: text("GET /" + strings.Repeat("x", mib))},
		{name: "half a small head", full: 9000, idles: true, send: text(get)},
		{name: "nothing sent", full: 9000, idles: true, send: text("")},
		{name: "open bodies", full: 9000, send: text(post + "Content-Length: 1000\r\n\r\na=")},
		{name: "open bodies after a large head", full: 9000, send: text(post + "A: " + strings.Repeat("x", 31<<10) + "\r\nContent-Length: 1000\r\n\r\na=")},
		{name: "open chunks", full: 9000, send: text(post + "Transfer-Encoding: chunked\r\n\r\n5\r\na=b&c")},
		{name: "answers not read", full: 2000, send: text(strings.Repeat("GET /errors HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n", 300))},

		{name: "TLS: half a handshake", alpn: "-", full: 9000, idles: true, send: text("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + strings.Repeat("x", 8<<10))},
		{name: "TLS: half a head", alpn: "http/1.1", full: 2000, idles: true, send: text(get + names.String()[:190<<10])},
		{name: "TLS: open bodies", alpn: "http/1.1", full: 4000, send: text(post + "Content-Length: 1000\r\n\r\na=")},
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	head := func(headers int, pairs ...string) []byte {
		block.Reset()
		all := append([]string{":method", "POST", ":scheme", "https", ":path", "/oauth/token", ":authority", "x", "content-type", "application/x-www-form-urlencoded"}, pairs...)
		for i := 0; i < len(all); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1], Sensitive: true})
		}
		for i := range headers {
			_ = e.WriteField(hpack.HeaderField{Name: names.String()[5*i : 5*i+3], Sensitive: true})
		}
		return bytes.Clone(block.Bytes())
	}
	body, small, many := head(0, "content-length", "12000000"), head(0, "content-length", "0"), head(950)
	repeated := append(head(0), bytes.Repeat([]byte{0x80 | 32}, 3000)...) // 3,000 empty cookies
	second := func(f func(*http2.Framer, net.Conn)) func(net.Conn) any {
		return func(c net.Conn) any {
			_, _ = io.WriteString(c, http2.ClientPreface)
			framer := http2.NewFramer(c, c)
			_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			f(framer, c)
			return framer
		}
	}
	headers := func(f *http2.Framer, id uint32, b []byte, end bool) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndHeaders: true, EndStream: end})
	}
	return append(list,
		hold{name: "HTTP/2: open bodies", alpn: "h2", full: 400, send: second(func(f *http2.Framer, _ net.Conn) {
			for id := uint32(1); id < 500; id += 2 {
				_ = headers(f, id, body, false)
				_ = f.WriteData(id, false, []byte("a"))
			}
		})},
		hold{name: "HTTP/2: large heads, and answers not read", alpn: "h2", full: 400, send: second(func(f *http2.Framer, _ net.Conn) {
			for id := uint32(1); id < 64; id += 2 {
				_ = headers(f, id, many, true)
			}
		})},
		hold{name: "HTTP/2: half a head", alpn: "h2", full: 400, idles: true, send: second(func(f *http2.Framer, _ net.Conn) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: repeated})
		})},
		hold{name: "HTTP/2: endless head", alpn: "h2", full: 400, send: second(func(f *http2.Framer, _ net.Conn) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: repeated})
			for range 500 {
				if f.WriteContinuation(1, false, repeated) != nil {
					return
				}
			}
		})},
		hold{name: "HTTP/2: half a frame", alpn: "h2", full: 400, idles: true, send: second(func(_ *http2.Framer, c net.Conn) {
			_, _ = c.Write(append([]byte{0x0f, 0xff, 0xff, 0, 0, 0, 0, 0, 1}, make([]byte, 1000)...))
		})},
		hold{name: "HTTP/2: rapid reset", alpn: "h2", full: 400, send: second(func(f *http2.Framer, _ net.Conn) {
			for id := uint32(1); id < 4000; id += 2 {
				if headers(f, id, many[:min(len(many), 16<<10)], false) != nil || f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		})},
		hold{name: "HTTP/2: pings, and answers not read", alpn: "h2", full: 400, send: second(func(f *http2.Framer, _ net.Conn) {
			for range 200_000 {
				if f.WritePing(false, [8]byte{}) != nil {
					return
				}
			}
		})},
		hold{name: "HTTP/2: settings, and answers not read", alpn: "h2", full: 400, send: second(func(f *http2.Framer, _ net.Conn) {
			for range 100_000 {
				if f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) != nil {
					return
				}
			}
		})},
		hold{name: "HTTP/2: streams after streams, and answers not read", alpn: "h2", full: 400, send: second(func(f *http2.Framer, _ net.Conn) {
			for id := uint32(1); id < 2000; id += 2 {
				if headers(f, id, small, true) != nil {
					return
				}
			}
		})},
	)
}
