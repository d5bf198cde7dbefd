// Package prometheus owns the proof that what ops see works: the rules in
// deploy/prometheus, the dashboard in deploy/grafana and the pages in docs/runbooks.
// A real Prometheus scrapes replicas of a real authsvc on a real Redis, and answers
// every query that there is. It does not own what the metrics count (internal/telemetry,
// cmd/authsvc). Tests only.
package prometheus
