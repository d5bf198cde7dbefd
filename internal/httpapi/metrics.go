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

	apierr "authsvc/internal/errors"
	"authsvc/internal/token"
)

// Metrics are the service's Prometheus metrics. Every label has a small, fixed
// set of values: endpoints, codes of the error table, operations.
type Metrics struct {
	registry *prometheus.Registry
	clock    *token.Clock

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	verdicts  *prometheus.CounterVec
	grants    *prometheus.CounterVec
	store     *prometheus.HistogramVec
	reloads   *prometheus.CounterVec
	reloaded  *prometheus.GaugeVec
	away      prometheus.Gauge
	outages   prometheus.Counter
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
		clock:    clock,
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_http_requests_total",
			Help: "Requests answered, by endpoint and code of the answer (ok, or a code of the error table).",
		}, []string{"endpoint", "code"}),
		durations: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authsvc_http_request_duration_seconds", Buckets: buckets,
			Help: "Time from the head of a request to its answer, by endpoint and code.",
		}, []string{"endpoint", "code"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "authsvc_http_requests_in_flight",
			Help: "Requests that have begun and are not answered yet.",
		}),
		verdicts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_introspections_total",
			Help: "What tokens were found to be, by the endpoint that was asked: active, or the code of the error table that says why not. Where that could not be told there is no verdict; authsvc_http_requests_total has these.",
		}, []string{"endpoint", "verdict"}),
		grants: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_grant_events_total",
			Help: "What happened to grants: issued and refreshed (each a pair of tokens), refresh_repeated (the same pair again, within the grace), revoked, refresh_replayed, grant_healed.",
		}, []string{"event"}),
		store: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authsvc_store_call_duration_seconds", Buckets: buckets,
			Help: "Time of calls of the token store, by operation and result (ok, not_found, exists, conflict, late: a swap that came after its time and did nothing, unavailable).",
		}, []string{"op", "result"}),
		reloads: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_reloads_total",
			Help: "Times that a changed file was read again, by file and result (ok, refused).",
		}, []string{"file", "result"}),
		reloaded: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "authsvc_last_reload_successful",
			Help: "1 while the file is in use as it was last read, 0 after it was refused: then what was read before stays in use, and a process that starts now may not start.",
		}, []string{"file"}),
		away: f.NewGauge(prometheus.GaugeOpts{
			Name: "authsvc_redis_away",
			Help: "How many Redis primaries have not answered for half a second or more, so that calls which need them are refused: at most 1 but for a Cluster.",
		}),
		outages: f.NewCounter(prometheus.CounterOpts{
			Name: "authsvc_redis_outages_total",
			Help: "Times that a Redis primary was found to be away (see authsvc_redis_away), also those that were over before anybody looked.",
		}),
		checks: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "authsvc_redis_check",
			Help: "What the examination of Redis, at start and each minute, found by check: 0 nothing, 1 a note, 2 a warning, 3 an error. The log says what and how to mend it, and so does authsvc doctor.",
		}, []string{"check"}),
	}
	// An alert needs the 0 before the first.
	for _, e := range []token.EventKind{
		token.EventIssued, token.EventRefreshed, token.EventRefreshRepeated,
		token.EventRevoked, token.EventRefreshReplayed, token.EventGrantHealed,
	} {
		m.grants.WithLabelValues(string(e))
	}
	for _, endpoint := range []string{introspectEndpoint, verifyEndpoint} {
		m.verdicts.WithLabelValues(endpoint, active)
		for _, row := range []apierr.Row{apierr.AccessTokenInvalid, apierr.AccessTokenExpired, apierr.AppNotExist, apierr.AppFrozen} {
			m.verdicts.WithLabelValues(endpoint, row.Code())
		}
	}
	m.verdicts.WithLabelValues(verifyEndpoint, apierr.AppNotAuthorized.Code())
	for _, file := range []string{"apps", "keys", "tls"} { // those that process watches
		m.reloads.WithLabelValues(file, reloadOK)
		m.reloads.WithLabelValues(file, reloadRefused)
		m.reloaded.WithLabelValues(file).Set(1)
	}
	for op, results := range storeResults {
		for _, result := range append(results, "ok", "unavailable") {
			m.store.WithLabelValues(op, result)
		}
	}
	return m
}

// storeResults are the results that an operation of a token.Store may have beside
// ok and unavailable.
var storeResults = map[string][]string{
	"create": {"exists"},
	"get":    {"not_found"},
	"swap":   {"conflict", "late"},
	"delete": nil,
	"now":    nil,
}

// expect makes the counters that alerts need the 0 of: of an endpoint's answers, the
// successes and what is a fault of ours.
func (m *Metrics) expect(endpoint string) {
	for _, code := range []string{answerOK, apierr.Internal.Code(), apierr.Unavailable.Code()} {
		m.requests.WithLabelValues(endpoint, code)
	}
}

// The values of labels that are no codes of the error table.
const (
	answerOK      = "ok"     // of code
	active        = "active" // of verdict
	reloadOK      = "ok"     // of result
	reloadRefused = "refused"
)

func (m *Metrics) request(endpoint, code string, took time.Duration) {
	m.requests.WithLabelValues(endpoint, code).Inc()
	m.durations.WithLabelValues(endpoint, code).Observe(took.Seconds())
}

// verdict counts what a token was found to be; nil is active.
func (m *Metrics) verdict(endpoint string, reason *apierr.Error) {
	verdict := active
	if reason != nil {
		verdict = reason.Row.Code()
	}
	m.verdicts.WithLabelValues(endpoint, verdict).Inc()
}

func (m *Metrics) grantEvent(kind token.EventKind) { m.grants.WithLabelValues(string(kind)).Inc() }

// Reloaded counts one reading of a changed file.
func (m *Metrics) Reloaded(file string, err error) {
	result, successful := reloadOK, 1.0
	if err != nil {
		result, successful = reloadRefused, 0
	}
	m.reloads.WithLabelValues(file, result).Inc()
	m.reloaded.WithLabelValues(file).Set(successful)
}

// RedisAway counts a Redis that is away, or no longer.
func (m *Metrics) RedisAway(away bool) {
	if away {
		m.outages.Inc()
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
	case errors.Is(err, token.ErrLate):
		result = "late"
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
