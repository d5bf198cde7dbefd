package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"time"

	"authsvc/internal/token"
)

// AdminConfig is what the handler of the admin listener is made of. Nothing is
// optional.
type AdminConfig struct {
	Store   token.Store
	Clock   *token.Clock
	Metrics *Metrics
	// StoreTimeout bounds the question to the store.
	StoreTimeout time.Duration
	Draining     func() bool
	// Pprof serves profiles of the process.
	Pprof bool
}

// NewAdmin returns the handler of the admin listener: GET /livez (the process
// runs), /readyz (it can do its work: the store answers, its clock is known, and
// the process is not about to stop) and /metrics; and, where they are wanted, the
// profiles of net/http/pprof. The command line is none of them: it can hold a secret.
func NewAdmin(cfg AdminConfig) http.Handler {
	cfg.Metrics.observeReady(func() bool { return cfg.ready(context.Background()) == nil })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { tell(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { tell(w, cfg.ready(r.Context())) })
	mux.Handle("GET /metrics", cfg.Metrics.handler())
	if cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (cfg AdminConfig) ready(ctx context.Context) error {
	if cfg.Draining() {
		return errDraining
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StoreTimeout)
	defer cancel()
	if _, err := cfg.Store.Now(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if _, err := cfg.Clock.Now(); err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	return nil
}

// errDraining is why a process that was told to stop is not ready.
const errDraining = readiness("the process is stopping")

type readiness string

func (r readiness) Error() string { return string(r) }

// tell answers a probe in one line of text.
func tell(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "not ready: "+err.Error()+"\n")
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}
