package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"authsvc/internal/answer"
	"authsvc/internal/app"
	"authsvc/internal/doctor"
	"authsvc/internal/httpapi"
	"authsvc/internal/keyring"
	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

const metricsText = `# Metrics

` + "`GET /metrics`" + ` on the admin listener returns these metrics in the format of Prometheus, and the
` + "`go_*` and `process_*`" + ` metrics of the Go client. [The rules](../../deploy/prometheus/rules.yml) and
[the runbooks](../runbooks/README.md) say which of them are worth an alert.

`

func metricsPage() (string, error) {
	e, err := newExercise()
	if err != nil {
		return "", err
	}
	e.run()
	families, err := e.metrics.Registry().Gather()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(header + metricsText)
	head(&b, "name", "type", "labels", "what it is")
	var seen []string
	for _, f := range families {
		if !ours(f.GetName()) {
			continue
		}
		seen = append(seen, f.GetName())
		values := map[string][]string{}
		var labels []string
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(labels, l.GetName()) {
					labels = append(labels, l.GetName())
				}
				if !slices.Contains(values[l.GetName()], l.GetValue()) {
					values[l.GetName()] = append(values[l.GetName()], l.GetValue())
				}
			}
		}
		for i, l := range labels {
			labels[i] = code(l) + ": " + list(l, values[l])
		}
		row(&b, code(f.GetName()), strings.ToLower(f.GetType().String()), strings.Join(labels, "; "), escape(f.GetHelp()))
	}
	for _, name := range e.registered() {
		if !slices.Contains(seen, name) {
			return "", fmt.Errorf("%s has no values yet: exercise.run must use it", name)
		}
	}
	return b.String(), nil
}

func ours(name string) bool { return strings.HasPrefix(name, "authsvc_") }

// list returns the values of a label; for codes, it refers to the error table.
func list(label string, values []string) string {
	switch label {
	case "code":
		return code("ok") + ", or a code of the [table](errors.md)"
	case "version", "revision", "goversion":
		return "as in " + code("authsvc version")
	case "app":
		return "an AppKey, or " + code("others")
	}
	slices.Sort(values)
	for i, v := range values {
		values[i] = code(v)
	}
	return strings.Join(values, ", ")
}

// exercise is a service without listeners that uses every metric, because a metric with
// labels shows label values only once they occur.
type exercise struct {
	metrics *telemetry.Metrics
	api     *answer.Router
}

func newExercise() (*exercise, error) {
	now := time.Now()
	clock := token.NewClock(time.Now)
	metrics := telemetry.NewMetrics(clock)
	ring := keyring.New(now)
	pepper := ring.Pepper()
	apps, err := app.NewRegistry(pepper, []app.App{{Key: "exercise", Secrets: []app.Secret{{Hash: pepper.Hash(app.GenerateSecret())}}}})
	if err != nil {
		return nil, err
	}
	keys := keyring.NewCurrent(ring, nil)
	metrics.Observe(telemetry.Observed{
		Keys: keys, Apps: apps,
		LogLinesDropped:     func() uint64 { return 0 },
		CertificateNotAfter: func() time.Time { return now },
		Connections:         func() telemetry.Connections { return telemetry.Connections{} },
		Pool:                func() telemetry.PoolStats { return telemetry.PoolStats{} },
		Away:                func() map[string]time.Duration { return map[string]time.Duration{"all": 0} },
	})
	telemetry.NewProbes(telemetry.ProbesConfig{
		Store: verdict{token.ErrUnavailable}, Clock: clock, Metrics: metrics, StoreTimeout: time.Second, Draining: func() bool { return false },
	})
	api, err := httpapi.New(httpapi.Config{
		Manager: token.NewManager(token.Config{
			Store: verdict{token.ErrUnavailable}, Clock: clock, Keys: keys, Apps: apps,
			AccessTTL: token.DefaultAccessTTL, RefreshTTL: token.DefaultRefreshTTL, Grace: token.DefaultGrace,
		}),
		Apps: apps, Telemetry: metrics, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Issuer: "http://127.0.0.1", StoreTimeout: time.Second, IntrospectReason: true, Draining: func() bool { return false },
	})
	if err != nil {
		return nil, err
	}
	return &exercise{metrics: metrics, api: api}, nil
}

// run produces every value of every label.
func (e *exercise) run() {
	paths := []string{"/no-such-path"}
	for _, r := range e.api.Routes() {
		paths = append(paths, strings.ReplaceAll(r.Path, ":code", "APIG.2208"))
	}
	for _, p := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			e.api.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, p, http.NoBody))
		}
	}
	for _, check := range doctor.RedisChecks() {
		e.metrics.RedisCheck(check, 0)
	}
}

var nameInDesc = regexp.MustCompile(`fqName: ("(?:[^"\\]|\\.)*")`)

// registered returns the names of all our metrics, used or not.
func (e *exercise) registered() []string {
	descs := make(chan *prometheus.Desc)
	go func() {
		e.metrics.Registry().Describe(descs)
		close(descs)
	}()
	var names []string
	for d := range descs {
		if m := nameInDesc.FindStringSubmatch(d.String()); m != nil {
			if name, err := strconv.Unquote(m[1]); err == nil && ours(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// verdict is a store that answers every call with the same error, or with none.
type verdict struct{ err error }

func (v verdict) Create(context.Context, token.GrantID, []byte, time.Time) error { return v.err }

func (v verdict) Get(context.Context, token.GrantID) ([]byte, error) { return nil, v.err }

func (v verdict) Swap(context.Context, token.GrantID, []byte, []byte, time.Time, time.Time) error {
	return v.err
}

func (v verdict) Delete(context.Context, token.GrantID, []byte) error { return v.err }

func (v verdict) Now(context.Context) (time.Time, error) { return time.Time{}, v.err }
