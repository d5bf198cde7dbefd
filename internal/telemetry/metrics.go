package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"authsvc/internal/token"
)

// Metrics are the service's Prometheus metrics. Every label has a small, fixed
// set of values: endpoints, codes of the error table, operations. The methods are
// safe for concurrent use, and none waits for anything.
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
	open      prometheus.Gauge
	opened    prometheus.Counter
	checks    *prometheus.GaugeVec
}

// buckets are in seconds: from the cost of a request without the store to the
// limits on the store.
var buckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

// NewMetrics returns metrics in a registry of their own. clock is the store's
// clock, whose offset is one of the metrics.
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
			Help: "Times that a changed file was reloaded, by file and result (ok, refused).",
		}, []string{"file", "result"}),
		reloaded: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "authsvc_last_reload_successful",
			Help: "1 while the file is in use as it was last read, 0 after it was refused: then what was read before stays in use, and a process that starts now may not start.",
		}, []string{"file"}),
		open: f.NewGauge(prometheus.GaugeOpts{
			Name: "authsvc_redis_breakers_open",
			Help: "Redis primaries whose breaker is open: they have not answered for half a second or more, and calls that need them are refused at once. At most 1, except in a Cluster.",
		}),
		opened: f.NewCounter(prometheus.CounterOpts{
			Name: "authsvc_redis_breaker_opened_total",
			Help: "Times that the breaker of a Redis primary opened, including those that were over before a scrape.",
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
	for _, file := range []string{"apps", "keyring", "tls"} { // those that process watches
		m.reloads.WithLabelValues(file, resultOK)
		m.reloads.WithLabelValues(file, resultRefused)
		m.reloaded.WithLabelValues(file).Set(1)
	}
	for _, op := range storeOps {
		for _, result := range append(op.results, resultOK, resultUnavailable) {
			m.store.WithLabelValues(op.name, result)
		}
	}
	return m
}

// The values of the label result that are no verdict of a store.
const (
	resultOK          = "ok"
	resultRefused     = "refused"     // of a reload
	resultUnavailable = "unavailable" // of a store call
)

// Registry returns where the metrics are registered, for whoever lists them.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Reloaded counts one reload of a changed file; err is why the file was refused.
func (m *Metrics) Reloaded(file string, err error) {
	result, successful := resultOK, 1.0
	if err != nil {
		result, successful = resultRefused, 0
	}
	m.reloads.WithLabelValues(file, result).Inc()
	m.reloaded.WithLabelValues(file).Set(successful)
}

// Breaker counts a breaker that has opened or closed.
func (m *Metrics) Breaker(open bool) {
	if open {
		m.opened.Inc()
		m.open.Inc()
	} else {
		m.open.Dec()
	}
}

// RedisCheck sets what a check of Redis found: 0 nothing, 1 a note, 2 a warning,
// 3 an error.
func (m *Metrics) RedisCheck(check string, severity int) {
	m.checks.WithLabelValues(check).Set(float64(severity))
}
