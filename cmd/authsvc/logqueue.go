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
	w       io.Writer
	lines   chan []byte // never closed: a request that outlives the drain may still log
	dropped atomic.Uint64
	told    uint64 // of the dropped, those whose number was written
	quit    chan struct{}
	done    chan struct{}
}

const (
	logQueueLines = 10_000 // some MB
	logFlushTime  = time.Second
)

func newLogQueue(w io.Writer) *logQueue {
	q := &logQueue{w: w, lines: make(chan []byte, logQueueLines), quit: make(chan struct{}), done: make(chan struct{})}
	go q.run()
	return q
}

func (q *logQueue) run() {
	defer close(q.done)
	for {
		select {
		case line := <-q.lines:
			q.write(line)
			continue
		default:
		}
		select { // only when the queue is empty may it be over
		case line := <-q.lines:
			q.write(line)
		case <-q.quit:
			return
		}
	}
}

func (q *logQueue) write(line []byte) {
	_, _ = q.w.Write(line) // there is nowhere else to say it
	if n := q.dropped.Load() - q.told; n > 0 {
		q.told += n
		_, _ = fmt.Fprintf(q.w, `{"level":"ERROR","msg":"log lines were dropped, because nobody read them","lines":%d}`+"\n", n)
	}
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

// Dropped is how many lines were dropped so far.
func (q *logQueue) Dropped() uint64 { return q.dropped.Load() }

// Close writes what is queued, for a second at most. What is logged after it is lost.
func (q *logQueue) Close() {
	close(q.quit)
	select {
	case <-q.done:
	case <-time.After(logFlushTime):
	}
}
