package logqueue

import (
	"bytes"
	"errors"
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

// A disk is a writer that is full at times: it takes room bytes, and then no more.
type disk struct {
	bytes.Buffer
	room int
}

func (d *disk) Write(line []byte) (int, error) {
	n := min(len(line), d.room)
	d.room -= n
	d.Buffer.Write(line[:n])
	if n < len(line) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// What can't be written is counted, and reported once lines can be written again, on lines
// of their own wherever the last one was cut.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	const line = "a line\n"
	for room := range 3*len(line) + 1 {
		d := &disk{room: room}
		q := &Queue{w: d} // run by the test
		for range 4 {
			q.write([]byte(line))
		}
		want := uint64(4 - room/len(line))
		if q.Dropped() != want {
			t.Errorf("room for %d bytes: %d lines counted as dropped, want %d", room, q.Dropped(), want)
		}
		d.room = 2 * len(line) // too little for the report
		q.write([]byte(line))
		d.room = 1000
		q.write([]byte(line))
		q.write([]byte(line))
		whole, reports := 0, 0
		for l := range strings.Lines(d.String()) {
			switch l {
			case line:
				whole++
			case fmt.Sprintf(`{"level":"ERROR","msg":"log lines were dropped, because nobody read them or they could not be written","lines":%d}`+"\n", want):
				reports++
			}
		}
		if whole != (room+1)/len(line)+3 || reports != 1 { // a line that lacks only its end gets it
			t.Errorf("room for %d bytes: %d whole lines and %d reports of %d that are dropped:\n%s", room, whole, reports, want, d)
		}
	}
}
