// Package telemetry owns what the process reports to machines: Prometheus metrics,
// OpenTelemetry spans and their export, and the handler of probes, metrics and
// profiles. It implements the small interfaces that answer and httpapi declare, and
// decorates a token.Store.
//
// It does not own the request log (package answer), what is worth an alert
// (deploy/prometheus), the spans of Redis commands (package redisconn), or listeners
// (package process).
package telemetry
