package answer

import (
	"context"
	"net/netip"
	"time"
)

// Telemetry receives reports about exchanges. Its methods are called during requests, by
// many goroutines at once, so they must be fast and must not block.
type Telemetry interface {
	// Expect announces an endpoint before its first request.
	Expect(endpoint string)
	// Began reports that a request has come in.
	Began()
	// Answered reports that a request has been answered, once for each, with its context.
	Answered(ctx context.Context, o Outcome)
	// Unlogged reports that a request has got no line in the log.
	Unlogged()
	// TraceID returns the id of the trace that records a request, or "" if there is none.
	TraceID(ctx context.Context) string
}

// Outcome describes how a request was answered.
type Outcome struct {
	RequestID string
	Endpoint  string        // its name, one of few
	Route     string        // the pattern of its path; "" for an unknown path
	Code      string        // CodeOK, or a code of the error table
	Fault     bool          // the code has a status of 500 or above, whatever status was sent
	Took      time.Duration // from the head of the request to its answer
	App       string        // "": not known
	ClientIP  netip.Addr    // not valid if it is not known
}

// CodeOK is the code of a success.
const CodeOK = "ok"
