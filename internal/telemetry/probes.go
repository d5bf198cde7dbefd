package telemetry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"authsvc/internal/token"
)

// ProbesConfig configures the handler of the admin listener. Nothing is optional.
type ProbesConfig struct {
	Store   token.Store
	Clock   *token.Clock
	Metrics *Metrics
	// StoreTimeout bounds the store call that readiness depends on.
	StoreTimeout time.Duration
	// Draining reports whether the process is about to stop.
	Draining func() bool
	// Pprof enables profiles of the process.
	Pprof bool
}

// NewProbes returns the handler of the admin listener: GET /livez (the process is
// running), /readyz (the store answers, its clock is known, and the process is not
// about to stop) and /metrics; and, if enabled, the profiles of net/http/pprof except
// the command line, which can hold a secret. It adds the metric of readiness, so it
// must be called only once for a Metrics.
func NewProbes(cfg ProbesConfig) http.Handler {
	promauto.With(cfg.Metrics.registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "authsvc_ready",
		Help: "1 while /readyz answers ok, else 0. Each scrape calls the store.",
	}, func() float64 {
		if cfg.ready(context.Background()) != nil {
			return 0
		}
		return 1
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answerProbe(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answerProbe(w, cfg.ready(r.Context())) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics.registry, promhttp.HandlerOpts{}))
	if cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// ready returns why the process is not ready, or nil if it is.
func (cfg ProbesConfig) ready(ctx context.Context) error {
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

// errDraining is why a process that is shutting down is not ready.
const errDraining = readiness("the process is stopping")

type readiness string

func (r readiness) Error() string { return string(r) }

// answerProbe answers a probe in one line of text.
func answerProbe(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "not ready: "+err.Error()+"\n")
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}
