package authsvctest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"authsvc/internal/redistest"
)

// Log keeps what a process writes, and wakes those that wait for it.
type Log struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more *sync.Cond
}

func newLog() *Log {
	l := &Log{}
	l.more = sync.NewCond(&l.mu)
	return l
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.more.Broadcast()
	return l.buf.Write(p)
}

// Text returns everything written so far.
func (l *Log) Text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Event waits for the first log event with a message, and returns it.
func (l *Log) Event(t *testing.T, msg string, ended <-chan struct{}) map[string]any {
	t.Helper()
	var found map[string]any
	redistest.Eventually(t, fmt.Sprintf("the log event %q", msg), func() bool {
		lines := bufio.NewScanner(strings.NewReader(l.Text()))
		for lines.Scan() {
			var m map[string]any
			if json.Unmarshal(lines.Bytes(), &m) == nil && m["msg"] == msg {
				found = m
				return true
			}
		}
		select {
		case <-ended:
			t.Fatalf("the process ended before the log event %q:\n%s", msg, l.Text())
		default:
		}
		return false
	})
	return found
}

// warnings returns the last lines that do not have the level INFO.
func (l *Log) warnings() string {
	const most = 20
	kept := l.lines(func(line string) bool { return !strings.Contains(line, `"level":"INFO"`) })
	return strings.Join(kept[max(0, len(kept)-most):], "")
}

// About returns all lines that contain one of these words, or that are about no request
// and do not have the level INFO.
func (l *Log) About(words ...string) string {
	return strings.Join(l.lines(func(line string) bool {
		return !strings.Contains(line, `"msg":"request"`) && !strings.Contains(line, `"level":"INFO"`) ||
			slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) })
	}), "")
}

func (l *Log) lines(wanted func(line string) bool) (kept []string) {
	for line := range strings.Lines(l.Text()) {
		if wanted(line) {
			kept = append(kept, line)
		}
	}
	return kept
}

// Count returns the number of log events with a message.
func (l *Log) Count(msg string) int { return strings.Count(l.Text(), fmt.Sprintf(`"msg":%q`, msg)) }
