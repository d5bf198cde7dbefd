package answer

import (
	"context"
	"net/netip"
	"time"
)

// Telemetry is what exchanges report to. The methods are called in the course of
// requests, by many goroutines at once, so they must be fast and never wait.
type Telemetry interface {
	// Expect announces an endpoint before its first request.
	Expect(endpoint string)
	// Began reports that a request has come in.
	Began()
	// Answered reports that it has been answered: once for each, with its context.
	Answered(ctx context.Context, o Outcome)
	// TraceID returns the id of the trace in which a request is recorded, "" for none.
	TraceID(ctx context.Context) string
}

// Outcome is what became of a request.
type Outcome struct {
	RequestID string
	Endpoint  string        // its name, one of few
	Route     string        // the pattern of its path; "" for an unknown path
	Code      string        // CodeOK, or a code of the error table
	Fault     bool          // the code has a status of 500 or above, whatever status was sent
	Took      time.Duration // from the head of the request to its answer
	App       string        // "": not known
	ClientIP  netip.Addr    // not valid where it can't be told
}

// CodeOK is the code of a success.
const CodeOK = "ok"
