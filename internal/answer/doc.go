// Package answer owns one exchange on a listener: the request id, the limits on the
// head of a request, the address of the client, the only renderer and the only writer
// of failures, panics, and the request log. Every listener that is built on it answers
// in the same way.
//
// It does not own what the endpoints do, or their own ways of answering, which they pass
// in (package httpapi); what is measured (package telemetry, through the interface
// declared here); or the listeners (package process).
package answer
