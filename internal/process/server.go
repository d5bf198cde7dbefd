package process

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"authsvc/internal/answer"
)

// The limits for slow clients. A token request has a few hundred bytes, but 12 MiB must
// get through a slow connection.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	writeTimeout      = 90 * time.Second // from the end of the head, so it includes reading the body
	idleTimeout       = 2 * time.Minute
)

func (p *Process) server(h http.Handler, cert *atomic.Pointer[tls.Certificate]) *http.Server {
	srv := &http.Server{
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
	if cert != nil {
		srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.Load(), nil }}
	}
	return srv
}

// serve serves until the server is shut down.
func serve(srv *http.Server, l net.Listener) error {
	var err error
	if srv.TLSConfig != nil {
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// httpLog logs what net/http reports about connections. What any client can cause is
// logged at the debug level; the rest (no file descriptors left, for instance) concerns
// the operator.
type httpLog struct{ log *slog.Logger }

// Write implements io.Writer; it is called with one line at a time.
func (l httpLog) Write(line []byte) (int, error) {
	level := slog.LevelError
	if bytes.Contains(line, []byte("TLS handshake error")) || bytes.Contains(line, []byte("http2: ")) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "net/http", "cause", string(bytes.TrimSpace(line)))
	return len(line), nil
}
