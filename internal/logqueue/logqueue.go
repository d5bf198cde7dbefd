package logqueue

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Queue is an io.Writer that never blocks. A line that does not fit into the queue, or
// that can't be written, is dropped; the number of dropped lines is written once lines can
// be. It is safe for concurrent use.
type Queue struct {
	w       io.Writer
	lines   chan []byte // never closed: a request that outlives the drain may still log
	dropped atomic.Uint64
	told    uint64 // the dropped lines that have been reported
	torn    bool   // the last line was written in part
	quit    chan struct{}
	done    chan struct{}
}

const (
	maxLines     = 10_000 // some MB
	flushTimeout = time.Second
)

// New returns a queue in front of w, which its owner closes.
func New(w io.Writer) *Queue {
	q := &Queue{w: w, lines: make(chan []byte, maxLines), quit: make(chan struct{}), done: make(chan struct{})}
	go q.run()
	return q
}

func (q *Queue) run() {
	defer close(q.done)
	for {
		select {
		case line := <-q.lines:
			q.write(line)
			continue
		default:
		}
		select { // quit counts only when the queue is empty
		case line := <-q.lines:
			q.write(line)
		case <-q.quit:
			return
		}
	}
}

// write writes a line, or drops and counts it.
func (q *Queue) write(line []byte) {
	if !q.put(line) {
		q.dropped.Add(1)
		return
	}
	if n := q.dropped.Load() - q.told; n > 0 &&
		q.put(fmt.Appendf(nil, `{"level":"ERROR","msg":"log lines were dropped, because nobody read them or they could not be written","lines":%d}`+"\n", n)) {
		q.told += n
	}
}

// put reports whether a line was written. It begins on a line of its own, even after one
// that was written in part, as on a disk that was full.
func (q *Queue) put(line []byte) bool {
	if q.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := q.w.Write(line)
	if n > 0 {
		q.torn = line[n-1] != '\n'
	}
	return err == nil
}

// Write implements io.Writer: it queues a line, or drops it. It never fails and never
// blocks.
func (q *Queue) Write(line []byte) (int, error) {
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// Dropped returns how many lines were dropped so far.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Close writes what is queued, for a second at most. What is logged after it is lost.
func (q *Queue) Close() {
	close(q.quit)
	select {
	case <-q.done:
	case <-time.After(flushTimeout):
	}
}
