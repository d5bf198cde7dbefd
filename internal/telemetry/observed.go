package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"authsvc/internal/app"
	"authsvc/internal/keyring"
)

// Observed holds what is read each time the metrics are scraped. Its funcs must be
// fast and safe for concurrent use.
type Observed struct {
	Build BuildInfo
	Keys  *keyring.Current
	Apps  *app.Registry
	// LogLinesDropped returns the number of log lines dropped since the process started.
	LogLinesDropped func() uint64
	// CertificateNotAfter returns when the certificate of the public listener expires.
	// It is nil without TLS.
	CertificateNotAfter func() time.Time
	// Connections returns the connections to the public listener.
	Connections func() Connections
	// Pool returns the connections to Redis. It is nil for any other store.
	Pool func() PoolStats
	// Away returns for how long each shard of Redis could not be asked since the process
	// started, by its slots. It is nil for any other store.
	Away func() map[string]time.Duration
}

// BuildInfo says what the binary was built from. What is not known is empty.
type BuildInfo struct{ Version, Revision, Go string }

// Connections are the connections to the public listener, and the places for them: a
// connection of HTTP/1 takes one, others more.
type Connections struct {
	Open, Taken, Places int // now
	// What was turned away since the process started, because all places were taken:
	// answered with 503, idle and closed for a new one, closed without an answer.
	Answered, Idle, Cut uint64
}

// PoolStats are the connections to all Redis servers of the store together.
type PoolStats struct {
	Idle, InUse int // now
	// Waits and Timeouts count, since the process started, how often a call waited
	// for a connection, and how often it got none in time.
	Waits, Timeouts uint64
}

// Observe adds the metrics that are read from o. It must be called only once.
func (m *Metrics) Observe(o Observed) {
	f := promauto.With(m.registry)
	f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "authsvc_build_info",
		Help: "Always 1. The labels are the version, the source revision and the Go version of the build, empty if not known.",
	}, []string{"version", "revision", "goversion"}).WithLabelValues(o.Build.Version, o.Build.Revision, o.Build.Go).Set(1)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "authsvc_signing_key_created_timestamp_seconds",
		Help: "When the current signing key was created, in seconds since 1970.",
	}, func() float64 {
		now, err := m.clock.Now()
		if err != nil {
			now = time.Now() // the store is unavailable; the local clock will do
		}
		return seconds(o.Keys.Signer(now).Created)
	})
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "authsvc_log_lines_dropped_total",
		Help: "Log lines that were dropped because standard error was not read fast enough, or could not be written.",
	}, func() float64 { return float64(o.LogLinesDropped()) })
	if o.CertificateNotAfter != nil {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "authsvc_tls_certificate_not_after_timestamp_seconds",
			Help: "When the certificate of the public listener expires, in seconds since 1970. Only with TLS.",
		}, func() float64 { return seconds(o.CertificateNotAfter()) })
	}
	apps := prometheus.NewDesc("authsvc_apps", "Apps, by state.", []string{"state"}, nil)
	m.registry.MustRegister(collector{[]*prometheus.Desc{apps}, func(ch chan<- prometheus.Metric) {
		active, frozen := o.Apps.States()
		ch <- prometheus.MustNewConstMetric(apps, prometheus.GaugeValue, float64(active), "active")
		ch <- prometheus.MustNewConstMetric(apps, prometheus.GaugeValue, float64(frozen), "frozen")
	}})
	if o.Away != nil {
		away := prometheus.NewDesc("authsvc_redis_away_seconds_total",
			"Time in which a shard of Redis did not answer reads, by its slots in a Cluster, otherwise all: retries of a refresh are answered for that much longer. Only with Redis.", []string{"shard"}, nil)
		m.registry.MustRegister(collector{[]*prometheus.Desc{away}, func(ch chan<- prometheus.Metric) {
			for shard, took := range o.Away() {
				ch <- prometheus.MustNewConstMetric(away, prometheus.CounterValue, took.Seconds(), shard)
			}
		}})
	}
	open := prometheus.NewDesc("authsvc_connections", "Connections to the public listener.", nil, nil)
	places := prometheus.NewDesc("authsvc_connection_places", "Places for connections to the public listener, by state (taken, free). A connection takes 1, with TLS 2, with HTTP/2 42, and each of its requests one more; a head of more than 8 KB takes more.", []string{"state"}, nil)
	shed := prometheus.NewDesc("authsvc_connections_turned_away_total", "Connections, and requests of HTTP/2, that were turned away because all places were taken, by how: answered (with 503), idle (closed for a new one), cut (closed without an answer).", []string{"how"}, nil)
	m.registry.MustRegister(collector{[]*prometheus.Desc{open, places, shed}, func(ch chan<- prometheus.Metric) {
		c := o.Connections()
		ch <- prometheus.MustNewConstMetric(open, prometheus.GaugeValue, float64(c.Open))
		ch <- prometheus.MustNewConstMetric(places, prometheus.GaugeValue, float64(c.Taken), "taken")
		ch <- prometheus.MustNewConstMetric(places, prometheus.GaugeValue, float64(c.Places-c.Taken), "free")
		ch <- prometheus.MustNewConstMetric(shed, prometheus.CounterValue, float64(c.Answered), "answered")
		ch <- prometheus.MustNewConstMetric(shed, prometheus.CounterValue, float64(c.Idle), "idle")
		ch <- prometheus.MustNewConstMetric(shed, prometheus.CounterValue, float64(c.Cut), "cut")
	}})
	if o.Pool == nil {
		return
	}
	connections := prometheus.NewDesc("authsvc_redis_pool_connections", "Connections to Redis, by state. Only with Redis.", []string{"state"}, nil)
	waits := prometheus.NewDesc("authsvc_redis_pool_waits_total", "Times that a call waited for a connection to Redis because all of them were in use. Only with Redis.", nil, nil)
	timeouts := prometheus.NewDesc("authsvc_redis_pool_timeouts_total", "Times that no connection to Redis became free in time. Only with Redis.", nil, nil)
	m.registry.MustRegister(collector{[]*prometheus.Desc{connections, waits, timeouts}, func(ch chan<- prometheus.Metric) {
		s := o.Pool()
		ch <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(s.Idle), "idle")
		ch <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(s.InUse), "in_use")
		ch <- prometheus.MustNewConstMetric(waits, prometheus.CounterValue, float64(s.Waits))
		ch <- prometheus.MustNewConstMetric(timeouts, prometheus.CounterValue, float64(s.Timeouts))
	}})
}

// collector reads several metrics at once.
type collector struct {
	descs   []*prometheus.Desc
	collect func(chan<- prometheus.Metric)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) { c.collect(ch) }

func seconds(t time.Time) float64 { return float64(t.Unix()) }
