package main

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// logQueue stands between a log and its writer: a reader of standard error that
// has stalled must not hold up requests. Lines beyond the queue are dropped, and
// their number is written once the reader goes on.
type logQueue struct {
	lines   chan []byte
	dropped atomic.Int64
	done    chan struct{}
}

const (
	logQueueLines = 10_000 // some MB
	logFlushTime  = time.Second
)

func newLogQueue(w io.Writer) *logQueue {
	q := &logQueue{lines: make(chan []byte, logQueueLines), done: make(chan struct{})}
	go func() {
		defer close(q.done)
		for line := range q.lines {
			_, _ = w.Write(line) // there is nowhere else to say it
			if n := q.dropped.Swap(0); n > 0 {
				_, _ = fmt.Fprintf(w, `{"level":"ERROR","msg":"log lines were dropped, because nobody read them","lines":%d}`+"\n", n)
			}
		}
	}()
	return q
}

// Write queues a line, or drops it; it never fails, and never waits.
func (q *logQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// Close writes what is queued, for a second at most. Nothing is written after it.
func (q *logQueue) Close() {
	close(q.lines)
	select {
	case <-q.done:
	case <-time.After(logFlushTime):
	}
}
