package process

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
)

// The limits for slow clients. A token request has a few hundred bytes, but 12 MiB must
// get through a slow connection.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	writeTimeout      = 90 * time.Second // from the end of the head, so it includes reading the body
	idleTimeout       = 2 * time.Minute
)

// Limits of HTTP/2, which net/http has no or much higher ones for. A frame is read in
// whole before anything is done with it.
var http2Limits = http.HTTP2Config{
	MaxConcurrentStreams:          maxStreams,
	MaxReadFrameSize:              16 << 10,
	MaxReceiveBufferPerConnection: 64 << 10,
	MaxReceiveBufferPerStream:     64 << 10,
	SendPingTimeout:               readHeaderTimeout, // the only limit on a half-sent head
	PingTimeout:                   readHeaderTimeout,
	WriteByteTimeout:              readHeaderTimeout,
}

// servers returns the servers of the public listener, in the order of the doors.
func (p *Process) servers(api http.Handler, issuer string) ([]*http.Server, error) {
	full, err := p.full(issuer)
	if err != nil {
		return nil, err
	}
	http1, http2, refused := p.server(api), p.server(p.gate.streams(api, full)), p.server(full)
	http1.ConnState, http2.ConnState = p.gate.state, p.gate.state
	http2.HTTP2 = &http2Limits
	refused.SetKeepAlivesEnabled(false)
	refused.ReadTimeout, refused.WriteTimeout, refused.MaxHeaderBytes = refusalTimeout, refusalTimeout, 8<<10
	return []*http.Server{http1, http2, refused}, nil
}

// full returns the handler that answers while there is no place for a connection.
func (p *Process) full(issuer string) (http.Handler, error) {
	return answer.NewRouter(answer.Config{
		Telemetry: p.metrics, Log: p.log, ErrorPages: issuer + "/errors/", TrustedProxies: p.cfg.TrustedProxies,
		Draining: func() bool { return true }, // answers close their connection
		NotFound: func(*answer.Exchange) error {
			return &apierr.Error{
				Row: apierr.Unavailable, RetryAfter: time.Duration(1+rand.N(5)) * time.Second,
				Hint: "The service has as many connections as fit into its memory. Try again in a moment; keep connections open, and reuse them.",
			}
		},
	})
}

func (p *Process) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.inFlight.Add(1)
			defer p.inFlight.Add(-1)
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    answer.MaxHeaderBytes,
		ErrorLog:          log.New(httpLog{p.log}, "", 0),

		DisableGeneralOptionsHandler: true, // OPTIONS * gets a row of the error table, too
	}
}

// tlsConfig returns the configuration of the public listener, or nil for plain HTTP.
func (p *Process) tlsConfig() *tls.Config {
	cert := p.files.certificate
	if cert == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.Load(), nil }}
}

// serve serves until the server is shut down.
func serve(srv *http.Server, l net.Listener) error {
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// httpLog logs what net/http reports about connections. What any client can cause is
// logged at the debug level; the rest (no file descriptors left, for instance) concerns
// the operator.
type httpLog struct{ log *slog.Logger }

// Write implements io.Writer; it is called with one line at a time.
func (l httpLog) Write(line []byte) (int, error) {
	level := slog.LevelError
	if bytes.Contains(line, []byte("http2: ")) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "net/http", "cause", string(bytes.TrimSpace(line)))
	return len(line), nil
}
