package httpapi_test

import (
	"bufio"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/store/memory"
)

// Nothing that a stranger sends in up to 32 KiB makes the handlers allocate more than ten
// token requests, and a copy of what was sent, or write a long line to the log. The times
// are measured by make test-faults (TestCostOfStrangers). This test is not parallel: it
// counts what the process allocates.
func TestStrangersAreCheap(t *testing.T) {
	var log countingWriter
	h := benchHandler(t, memory.New(time.Now), &log)
	issues, issueBytes := cost(t, h, authsvctest.IssueRequest)
	for _, r := range authsvctest.StrangerRequests(31 << 10) {
		log.longest = 0
		objects, bytes := cost(t, h, r.Text)
		if objects > 10*issues || bytes > 10*issueBytes+32<<10 {
			t.Errorf("%s: %d bytes of %d objects; a token request is %d bytes of %d", r.Name, bytes, objects, issueBytes, issues)
		}
		if log.longest > 1000 {
			t.Errorf("%s: a line of %d bytes in the log", r.Name, log.longest)
		}
	}
}

// Each request of a stranger, and the token request that it is compared with, without
// net/http's part.
func BenchmarkStrangers(b *testing.B) {
	h := benchHandler(b, memory.New(time.Now), io.Discard)
	for _, r := range append([]authsvctest.StrangerRequest{{Name: "a token", Text: authsvctest.IssueRequest}}, authsvctest.StrangerRequests(31<<10)...) {
		b.Run(r.Name, func(b *testing.B) {
			b.ReportAllocs()
			serve := server(b, h, r.Text)
			for b.Loop() {
				serve()
			}
		})
	}
}

// cost returns what the handlers allocate for a request, on average.
func cost(t *testing.T, h http.Handler, text string) (objects, bytes uint64) {
	t.Helper()
	const runs = 20
	serve := server(t, h, text)
	serve()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		serve()
	}
	runtime.ReadMemStats(&after)
	return (after.Mallocs - before.Mallocs) / runs, (after.TotalAlloc - before.TotalAlloc) / runs
}

// server returns a function that has a request served, which is parsed beforehand as far
// as its head goes.
func server(tb testing.TB, h http.Handler, text string) func() {
	tb.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		tb.Fatalf("%s: %v", text[:min(100, len(text))], err)
	}
	r.RemoteAddr = "127.0.0.1:1234" // a trusted proxy
	_, body, _ := strings.Cut(text, "\r\n\r\n")
	return func() {
		r := *r
		r.Body = io.NopCloser(strings.NewReader(body))
		h.ServeHTTP(discard{http.Header{}}, &r)
	}
}

// discard is an http.ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(b []byte) (int, error) { return len(b), nil }

// countingWriter keeps the length of the longest line that is written to it.
type countingWriter struct{ longest int }

func (w *countingWriter) Write(line []byte) (int, error) {
	w.longest = max(w.longest, len(line))
	return len(line), nil
}
