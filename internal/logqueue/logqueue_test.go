package logqueue

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// A log that nobody reads holds nobody up: what does not fit is dropped and counted.
func TestLogQueue(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	q := New(w)
	const lines = 2 * maxLines
	for i := range lines { // without the queue the first of these would block
		if n, err := fmt.Fprintf(q, "line %d\n", i); err != nil || n == 0 {
			t.Fatal(n, err)
		}
	}
	defer func() {
		if _, err := fmt.Fprintln(q, "after the end"); err != nil {
			t.Error(err)
		}
	}()
	read := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		read <- b
	}()
	q.Close()
	<-q.done
	w.Close()
	got := <-read
	var dropped int
	for l := range strings.Lines(string(got)) {
		if _, rest, ok := strings.Cut(l, `"lines":`); ok {
			fmt.Sscan(strings.TrimRight(rest, "}\n"), &dropped)
		}
	}
	written := bytes.Count(got, []byte("line "))
	if !bytes.HasPrefix(got, []byte("line 0\n")) || dropped == 0 || written+dropped != lines || q.Dropped() != uint64(dropped) {
		t.Errorf("%d lines were written and %d (%d) counted as dropped, of %d", written, dropped, q.Dropped(), lines)
	}
}
