package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"authsvc/internal/token"
)

// Metrics are the service's Prometheus metrics. Every label has a small, fixed
// set of values: endpoints, codes of the error table, operations.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	grants    *prometheus.CounterVec
	store     *prometheus.HistogramVec
	reloads   *prometheus.CounterVec
	away      prometheus.Gauge
	checks    *prometheus.GaugeVec
}

// buckets are in seconds: from what a request costs without the store to the
// limits on the store.
var buckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

// NewMetrics returns metrics in a registry of their own. clock is the store's
// clock, whose offset is one of them.
func NewMetrics(clock *token.Clock) *Metrics {
	r := prometheus.NewRegistry()
	f := promauto.With(r)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "authsvc_clock_offset_seconds",
		Help: "How far the store's clock is ahead of the process clock; 0 while it is not known.",
	}, func() float64 {
		offset, _ := clock.Offset()
		return offset.Seconds()
	})
	m := &Metrics{
		registry: r,
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_http_requests_total",
			Help: "Requests answered, by endpoint and code of the answer (ok, or a code of the error table).",
		}, []string{"endpoint", "code"}),
		durations: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authsvc_http_request_duration_seconds", Buckets: buckets,
			Help: "Time from the head of a request to its answer, by endpoint and code.",
		}, []string{"endpoint", "code"}),
		grants: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_grant_events_total",
			Help: "What happened to grants: issued and refreshed (each a pair of tokens), refresh_repeated (the same pair again, within the grace), revoked, refresh_replayed, grant_healed.",
		}, []string{"event"}),
		store: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authsvc_store_call_duration_seconds", Buckets: buckets,
			Help: "Time of calls of the token store, by operation and result (ok, not_found, exists, conflict, unavailable).",
		}, []string{"op", "result"}),
		reloads: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_reloads_total",
			Help: "Times that a changed file was read again, by file and result (ok, refused).",
		}, []string{"file", "result"}),
		away: f.NewGauge(prometheus.GaugeOpts{
			Name: "authsvc_redis_away",
			Help: "How many Redis primaries have not answered for half a second or more, so that calls which need them are refused: at most 1 but for a Cluster.",
		}),
		checks: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "authsvc_redis_check",
			Help: "What the examination of Redis, at start and each minute, found by check: 0 nothing, 1 a note, 2 a warning, 3 an error. The log says what and how to mend it, and so does authsvc doctor.",
		}, []string{"check"}),
	}
	for _, e := range []token.EventKind{
		token.EventIssued, token.EventRefreshed, token.EventRefreshRepeated,
		token.EventRevoked, token.EventRefreshReplayed, token.EventGrantHealed,
	} {
		m.grants.WithLabelValues(string(e)) // an alert needs the 0 before the first
	}
	return m
}

func (m *Metrics) request(endpoint, code string, took time.Duration) {
	m.requests.WithLabelValues(endpoint, code).Inc()
	m.durations.WithLabelValues(endpoint, code).Observe(took.Seconds())
}

func (m *Metrics) grantEvent(kind token.EventKind) { m.grants.WithLabelValues(string(kind)).Inc() }

// Reloaded counts one reading of a changed file.
func (m *Metrics) Reloaded(file string, err error) {
	result := "ok"
	if err != nil {
		result = "refused"
	}
	m.reloads.WithLabelValues(file, result).Inc()
}

// RedisAway counts a Redis that is away, or no longer.
func (m *Metrics) RedisAway(away bool) {
	if away {
		m.away.Inc()
	} else {
		m.away.Dec()
	}
}

// RedisCheck sets what was found by a check of Redis: 0 nothing, 1 a note, 2 a
// warning, 3 an error.
func (m *Metrics) RedisCheck(check string, severity int) {
	m.checks.WithLabelValues(check).Set(float64(severity))
}

// Registry is where the metrics are registered, for who lists them.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// handler is GET /metrics.
func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Store returns a store whose calls are measured.
func (m *Metrics) Store(s token.Store) token.Store { return measuredStore{s, m} }

type measuredStore struct {
	store token.Store
	m     *Metrics
}

func (s measuredStore) observe(op string, start time.Time, err error) {
	result := "unavailable"
	switch {
	case err == nil:
		result = "ok"
	case errors.Is(err, token.ErrNotFound):
		result = "not_found"
	case errors.Is(err, token.ErrExists):
		result = "exists"
	case errors.Is(err, token.ErrConflict):
		result = "conflict"
	}
	s.m.store.WithLabelValues(op, result).Observe(time.Since(start).Seconds())
}

func (s measuredStore) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	start := time.Now()
	err := s.store.Create(ctx, id, record, expireAt)
	s.observe("create", start, err)
	return err
}

func (s measuredStore) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	start := time.Now()
	record, err := s.store.Get(ctx, id)
	s.observe("get", start, err)
	return record, err
}

func (s measuredStore) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	start := time.Now()
	err := s.store.Swap(ctx, id, was, next, expireAt, notAfter)
	s.observe("swap", start, err)
	return err
}

func (s measuredStore) Delete(ctx context.Context, id token.GrantID) error {
	start := time.Now()
	err := s.store.Delete(ctx, id)
	s.observe("delete", start, err)
	return err
}

func (s measuredStore) Now(ctx context.Context) (time.Time, error) {
	start := time.Now()
	now, err := s.store.Now(ctx)
	s.observe("now", start, err)
	return now, err
}
