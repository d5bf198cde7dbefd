package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"authsvc/internal/app"
	"authsvc/internal/keyring"
)

// Observed is what is read when the metrics are scraped. A func must be fast, and
// safe for concurrent use.
type Observed struct {
	Build BuildInfo
	Keys  *keyring.Current
	Apps  *app.Registry
	// LogLinesDropped returns how many there were since the process started.
	LogLinesDropped func() uint64
	// CertificateNotAfter returns when the certificate in use on the public listener
	// expires; nil without TLS.
	CertificateNotAfter func() time.Time
	// Pool returns the connections to Redis; nil for a store without.
	Pool func() PoolStats
}

// BuildInfo is what the binary was built from. What is not known is empty.
type BuildInfo struct{ Version, Revision, Go string }

// PoolStats are the connections to all Redis servers of the store together.
type PoolStats struct {
	Idle, InUse int // now
	// Waits and Timeouts count, since the process started, how often a connection
	// had to be waited for, and how often there was none in time.
	Waits, Timeouts uint64
}

// Observe adds the metrics of what is observed. It is called once.
func (m *Metrics) Observe(o Observed) {
	f := promauto.With(m.registry)
	f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "authsvc_build_info",
		Help: "1, with the version, the revision of the source and the Go that the process was built from; empty where the build did not say.",
	}, []string{"version", "revision", "goversion"}).WithLabelValues(o.Build.Version, o.Build.Revision, o.Build.Go).Set(1)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "authsvc_signing_key_created_timestamp_seconds",
		Help: "When the key that signs now was made, in seconds since 1970.",
	}, func() float64 {
		now, err := m.clock.Now()
		if err != nil {
			now = time.Now() // the store is unavailable; this one will do
		}
		return seconds(o.Keys.Signer(now).Created)
	})
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "authsvc_log_lines_dropped_total",
		Help: "Log lines that were lost, because nobody read standard error fast enough.",
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
	if o.Pool == nil {
		return
	}
	connections := prometheus.NewDesc("authsvc_redis_pool_connections", "Connections to Redis, by state. Only with a Redis.", []string{"state"}, nil)
	waits := prometheus.NewDesc("authsvc_redis_pool_waits_total", "Times that a connection to Redis had to be waited for, because the most that there may be were in use. Only with a Redis.", nil, nil)
	timeouts := prometheus.NewDesc("authsvc_redis_pool_timeouts_total", "Times that no connection to Redis became free in time. Only with a Redis.", nil, nil)
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
