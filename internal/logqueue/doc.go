// Package logqueue owns the queue between a log and its writer: a reader of standard
// error that has stalled must not hold up requests. It knows nothing of what the
// lines say.
package logqueue
