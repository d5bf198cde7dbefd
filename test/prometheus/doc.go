// Package prometheus owns the proof that the monitoring works: the rules in
// deploy/prometheus, the dashboard in deploy/grafana and the pages in docs/runbooks. A
// real Prometheus scrapes replicas of a real authsvc on a real Redis, and runs all
// their queries. It does not own what the metrics count (internal/telemetry,
// internal/process). Tests only.
package prometheus
