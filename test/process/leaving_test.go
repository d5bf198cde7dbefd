package process

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// caller sends one request by hand, and leaves as its kind does.
type caller struct {
	conn   net.Conn
	client *http.Client // speaks HTTP/2 over conn; nil: HTTP/1 by hand
	s      *authsvctest.Server
}

// head returns the head of a refresh.
func (c *caller) head(length int) string {
	return fmt.Sprintf("POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", length)
}

func refreshForm(token string) string {
	return url.Values{
		"client_id": {authsvctest.Worker}, "client_secret": {authsvctest.Secret},
		"grant_type": {"refresh_token"}, "refresh_token": {token},
	}.Encode()
}

func (c *caller) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		t.Fatal(err)
	}
}

// http2 sends a refresh over HTTP/2, and returns once it has been written. It leaves when ctx
// ends.
func (c *caller) http2(ctx context.Context, t *testing.T, token string) {
	t.Helper()
	wrote := make(chan struct{})
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(wrote) }})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.s.URL+"/oauth/token", strings.NewReader(refreshForm(token)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	go func() {
		if res, err := c.client.Do(r); err == nil {
			res.Body.Close()
		}
	}()
	<-wrote
}

// leavings are the ways to send a refresh and to leave before its answer. Each sends all of
// it and leaves while the process is stopped, so that the process finds both at once.
var leavings = map[string]struct {
	tls, http2 bool
	began      func(*testing.T, *caller, string)        // before the process stops; may be nil
	leave      func(*testing.T, *caller, string) string // while it is stopped; it returns what is answered nevertheless
}{
	"HTTP/1.1, the connection is closed": {leave: func(t *testing.T, c *caller, token string) string {
		form := refreshForm(token)
		c.send(t, c.head(len(form))+form)
		_ = c.conn.Close()
		return ""
	}},
	"HTTP/1.1, kept alive": {
		began: func(t *testing.T, c *caller, _ string) {
			c.send(t, "GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: x\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(c.conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
		},
		leave: func(t *testing.T, c *caller, token string) string {
			form := refreshForm(token)
			c.send(t, c.head(len(form))+form)
			_ = c.conn.Close()
			return ""
		},
	},
	"HTTP/1.1, the connection is reset": {leave: func(t *testing.T, c *caller, token string) string {
		form := refreshForm(token)
		c.send(t, c.head(len(form))+form)
		if err := c.conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.Close()
		return ""
	}},
	"HTTP/1.1, one side is closed": {leave: func(t *testing.T, c *caller, token string) string {
		form := refreshForm(token)
		c.send(t, c.head(len(form))+form)
		if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		return "APIG.2202"
	}},
	"HTTP/1.1, the body came late": {
		began: func(t *testing.T, c *caller, token string) {
			form := refreshForm(token)
			c.send(t, c.head(len(form))+form[:10])
			redistest.Eventually(t, "the request to be read", func() bool { n, _ := c.s.Metric("authsvc_http_requests_in_flight"); return n == 1 })
		},
		leave: func(t *testing.T, c *caller, token string) string {
			c.send(t, refreshForm(token)[10:])
			_ = c.conn.Close()
			return ""
		},
	},
	"HTTP/1.1, in chunks": {leave: func(t *testing.T, c *caller, token string) string {
		form := refreshForm(token)
		c.send(t, "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n")
		c.send(t, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(form), form))
		_ = c.conn.Close()
		return ""
	}},
	"HTTP/1.0": {leave: func(t *testing.T, c *caller, token string) string {
		form := refreshForm(token)
		c.send(t, strings.Replace(c.head(len(form)), "HTTP/1.1", "HTTP/1.0", 1)+form)
		_ = c.conn.Close()
		return ""
	}},
	"HTTP/1.1 with TLS": {tls: true, leave: func(t *testing.T, c *caller, token string) string {
		form := refreshForm(token)
		c.send(t, c.head(len(form))+form)
		_ = c.conn.Close()
		return ""
	}},
	"HTTP/2, the stream is reset": {tls: true, http2: true, leave: func(t *testing.T, c *caller, token string) string {
		ctx, cancel := context.WithCancel(t.Context())
		c.http2(ctx, t, token)
		cancel()
		return ""
	}},
	"HTTP/2, the connection is closed": {tls: true, http2: true, leave: func(t *testing.T, c *caller, token string) string {
		c.http2(t.Context(), t, token)
		_ = c.conn.Close()
		return ""
	}},
}

// old returns a refresh token so old that it is a replay, and the newest pair of its grant.
func old(s *authsvctest.Server) (token string, newest authsvctest.Pair) {
	newest = s.Issue(authsvctest.Worker).Pair()
	token = newest.Refresh
	for range 3 {
		newest = s.Refresh(authsvctest.Worker, newest.Refresh).Pair()
	}
	return token, newest
}

// A replay whose caller has left, in any of the ways that there are, ends nothing. The same
// by a caller who stays ends the grant.
func TestAReplayWhoseCallerHasLeft(t *testing.T) {
	t.Parallel()
	for name, way := range leavings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := authsvctest.NewSite(t)
			args := authsvctest.Patient
			trust := &tls.Config{NextProtos: []string{"http/1.1"}}
			if way.tls {
				certs, dir := redistest.NewCerts(t), t.TempDir()
				cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
				certs.InstallServer(t, cert, key)
				pem, err := os.ReadFile(certs.CAFile)
				if err != nil {
					t.Fatal(err)
				}
				trust.RootCAs = x509.NewCertPool()
				trust.RootCAs.AppendCertsFromPEM(pem)
				args = append([]string{"--tls-cert", cert, "--tls-key", key}, args...)
			}
			s := site.Serve("memory://", args...)
			if way.tls {
				s.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: trust.Clone()}}
				t.Cleanup(s.Client.CloseIdleConnections)
			}
			token, newest := old(s)

			_, addr, _ := strings.Cut(s.URL, "://")
			c := &caller{s: s}
			var err error
			c.conn, err = net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.conn.Close()
			raw := c.conn
			switch {
			case way.http2:
				c.client = &http.Client{Transport: &http.Transport{
					ForceAttemptHTTP2: true, TLSClientConfig: trust,
					DialContext: func(context.Context, string, string) (net.Conn, error) { return raw, nil },
				}}
				trust.NextProtos = nil
				res, err := c.client.Get(s.URL + "/.well-known/oauth-authorization-server")
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.ProtoMajor != 2 {
					t.Fatalf("it speaks %s", res.Proto)
				}
			case way.tls:
				trust.ServerName = "127.0.0.1"
				secured := tls.Client(raw, trust)
				if err := secured.Handshake(); err != nil {
					t.Fatal(err)
				}
				c.conn = secured
			}
			if way.began != nil {
				way.began(t, c, token)
			}
			s.Pause()
			want := way.leave(t, c, token)
			s.Resume()
			s.WaitMetric(`authsvc_grant_events_total{event="caller_left"} 1`)
			s.WaitMetric(`authsvc_callers_left_total{app="billing-worker"} 1`)
			if want != "" {
				res, err := http.ReadResponse(bufio.NewReader(c.conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), want) {
					t.Errorf("answered %d %s", res.StatusCode, body)
				}
			}
			if !s.Introspect(newest.Access).Active() {
				t.Error("the access token was ended")
			}
			a := s.Refresh(authsvctest.Worker, newest.Refresh)
			authsvctest.Want(t, "refresh", a, 200, "")
			if n := s.Stderr.Count("refresh_replayed"); n != 0 {
				t.Errorf("%d false alarms", n)
			}

			authsvctest.Want(t, "replay", s.Refresh(authsvctest.Worker, token), 400, "APIG.2202")
			if s.Introspect(a.Pair().Access).Active() || s.Stderr.Count("refresh_replayed") != 1 {
				t.Error("a replay whose caller stays ends nothing")
			}
		})
	}
}

// A process that stops ends no grant for a replay, and waits until what it ended may be
// acknowledged.
func TestReplaysAndRevocationsWhileDraining(t *testing.T) {
	t.Parallel()
	s := authsvctest.NewSite(t).Serve("memory://", "--drain", "10m")
	token, newest := old(s)
	s.Signal(syscall.SIGTERM)
	s.Stderr.Event(t, "stopping", s.Ended)
	authsvctest.Want(t, "replay", s.Refresh(authsvctest.Worker, token), 400, "APIG.2202")
	if !s.Introspect(newest.Access).Active() || s.Stderr.Count("refresh_replayed") != 0 {
		t.Error("a replay ended its grant while the process was stopping")
	}
	revoked := make(chan error, 1)
	go func() {
		a, err := s.Post("/oauth/revoke", authsvctest.Worker, "token", newest.Refresh)
		if err == nil && a.Status != 200 {
			err = fmt.Errorf("%d %s", a.Status, a.Body)
		}
		revoked <- err
	}()
	s.WaitMetric(`authsvc_grant_events_total{event="revoked"} 1`) // not acknowledged yet, unless the machine is slow
	s.Signal(syscall.SIGTERM)
	if err := <-revoked; err != nil {
		t.Errorf("a revocation that was done was not acknowledged: %v", err)
	}
	if code := s.WaitEnded(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
