// Package answer owns one exchange on a listener: the request id, the limits on the
// head of a request, the address of the client, the one renderer and the one writer
// of failures, panics, and the request log. Every listener that is built on it
// answers in the same way.
//
// It does not own what the endpoints do, nor their own ways of answering, which they
// hand in (package httpapi); what is measured (package telemetry, through the
// interface that is here); or listeners and their life (package process).
package answer
