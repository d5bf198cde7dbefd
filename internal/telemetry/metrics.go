package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"authsvc/internal/token"
)

// Metrics are the service's Prometheus metrics. Every label has a small, fixed
// set of values: endpoints, error codes, operations. The methods are safe for
// concurrent use and never block.
type Metrics struct {
	registry *prometheus.Registry
	clock    *token.Clock

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	unlogged  prometheus.Counter
	verdicts  *prometheus.CounterVec
	grants    *prometheus.CounterVec
	left      *prometheus.CounterVec
	leftApps  firstApps
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
		Help: "How far the store's clock is ahead of the process's; 0 until it is known.",
	}, func() float64 {
		offset, _ := clock.Offset()
		return offset.Seconds()
	})
	m := &Metrics{
		registry: r,
		clock:    clock,
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_http_requests_total",
			Help: "Requests answered, by endpoint and code (ok, or an error code).",
		}, []string{"endpoint", "code"}),
		durations: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authsvc_http_request_duration_seconds", Buckets: buckets,
			Help: "Time from reading the head of a request to answering it, by endpoint and code.",
		}, []string{"endpoint", "code"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "authsvc_http_requests_in_flight",
			Help: "Requests that have not been answered yet.",
		}),
		unlogged: f.NewCounter(prometheus.CounterOpts{
			Name: "authsvc_http_requests_unlogged_total",
			Help: "Requests without a line in the log: of callers that proved neither an app nor a token, beyond 30 a minute (20 from one address) and 1,000 saved up. At --log-level debug there are none.",
		}),
		verdicts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_introspections_total",
			Help: "Verdicts on tokens, by endpoint: active, or the error code that says why not. A request without a verdict, because the store did not answer for instance, is only in authsvc_http_requests_total.",
		}, []string{"endpoint", "verdict"}),
		grants: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_grant_events_total",
			Help: "What happened to grants: issued and refreshed (each a new pair of tokens), refresh_repeated (the same pair again, during the grace period), refresh_excused (the same, later, because the store was unavailable since, or may have been before this process started), revoked, refresh_replayed, grant_healed; caller_left and replay_spared: an old refresh token came back, and nothing was deleted, because its caller had left, or because there were too many at once or the process was stopping.",
		}, []string{"event"}),
		left: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_callers_left_total",
			Help: "Old refresh tokens that came back when their caller had left, so that nothing was deleted, by app. Apps beyond the first 100 are counted as others.",
		}, []string{"app"}),
		store: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authsvc_store_call_duration_seconds", Buckets: buckets,
			Help: "Duration of token store calls, by operation and result (ok, not_found, exists, conflict, unavailable, or late: a swap that came after its deadline and changed nothing).",
		}, []string{"op", "result"}),
		reloads: f.NewCounterVec(prometheus.CounterOpts{
			Name: "authsvc_reloads_total",
			Help: "Reloads of a changed file, by file and result (ok, refused).",
		}, []string{"file", "result"}),
		reloaded: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "authsvc_last_reload_successful",
			Help: "1 if the file was accepted when it was last read, 0 if it was refused: the previous version then stays in use, and a process that starts now may fail.",
		}, []string{"file"}),
		open: f.NewGauge(prometheus.GaugeOpts{
			Name: "authsvc_redis_breakers_open",
			Help: "Redis primaries whose breaker is open: they have not answered for half a second or more, and calls that need them are refused at once. At most 1, except in a Cluster.",
		}),
		opened: f.NewCounter(prometheus.CounterOpts{
			Name: "authsvc_redis_breaker_opened_total",
			Help: "Times that the breaker of a Redis primary opened, even if it closed again before a scrape.",
		}),
		checks: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "authsvc_redis_check",
			Help: "The worst finding about Redis, by check, at start and each minute: 0 none, 1 a note, 2 a warning, 3 an error. The log and authsvc doctor say what is wrong and how to fix it.",
		}, []string{"check"}),
	}
	// An alert needs the 0 that comes before the first event.
	for _, e := range []token.EventKind{
		token.EventIssued, token.EventRefreshed, token.EventRefreshRepeated, token.EventRefreshExcused,
		token.EventRevoked, token.EventRefreshReplayed, token.EventGrantHealed,
		token.EventCallerLeft, token.EventReplaySpared,
	} {
		m.grants.WithLabelValues(string(e))
	}
	m.left.WithLabelValues(otherApps)
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

// The values of the label result that are not verdicts of a store.
const (
	resultOK          = "ok"
	resultRefused     = "refused"     // of a reload
	resultUnavailable = "unavailable" // of a store call
)

// Registry returns the registry that holds the metrics.
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

// Breaker records that a breaker has opened or closed.
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
