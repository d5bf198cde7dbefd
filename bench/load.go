package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load sends requests over a number of connections, each request after the answer to
// the last. It writes and reads bytes, so its cost is small and the same for every
// server.
type load struct {
	addr  string
	first [][]byte // the first request of each connection
	// next returns the next request of a connection, by its number, from its last answer.
	// If it is nil, the connections cycle through requests.
	next     func(conn int, answer []byte) []byte
	requests [][]byte
	turn     atomic.Int64
}

func newLoad(addr string, conns int, requests ...[]byte) *load {
	return &load{addr: addr, first: make([][]byte, conns), requests: requests}
}

type result struct {
	requests, fail int
	took           time.Duration
	latencies      []time.Duration // sorted
}

func (r result) quantile(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[int(q*float64(len(r.latencies)-1))]
}

// run sends requests for a time, but not more than most.
func (l *load) run(most int, d time.Duration) result {
	var (
		mu   sync.Mutex
		all  result
		wg   sync.WaitGroup
		sent atomic.Int64
	)
	start := time.Now()
	end := start.Add(d)
	for i := range l.first {
		wg.Go(func() {
			var own result
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				all.requests += own.requests
				all.fail += own.fail
				all.latencies = append(all.latencies, own.latencies...)
			}()
			conn, err := net.Dial("tcp", l.addr)
			if err != nil {
				own.fail++
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			request := l.first[i]
			for begin := time.Now(); begin.Before(end) && sent.Add(1) <= int64(most); {
				if l.next == nil {
					request = l.requests[int(l.turn.Add(1))%len(l.requests)]
				}
				status, answer, err := exchange(conn, r, request)
				now := time.Now()
				own.requests++
				own.latencies = append(own.latencies, now.Sub(begin))
				begin = now
				if err != nil || status != 200 {
					own.fail++
					return // later results would be meaningless
				}
				if l.next != nil {
					request = l.next(i, answer)
				}
			}
		})
	}
	wg.Wait()
	all.took = time.Since(start)
	slices.Sort(all.latencies)
	return all
}

// once sends one request over a new connection.
func once(addr string, request []byte) ([]byte, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	status, answer, err := exchange(conn, bufio.NewReader(conn), request)
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d: %s", status, answer)
	}
	return answer, err
}

// exchange sends a request and reads its answer, which has a Content-Length.
func exchange(w io.Writer, r *bufio.Reader, request []byte) (status int, body []byte, err error) {
	if _, err := w.Write(request); err != nil {
		return 0, nil, err
	}
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(textproto.TrimString(string(value))); err != nil {
				return 0, nil, err
			}
		}
	}
	body = make([]byte, length)
	_, err = io.ReadFull(r, body)
	return status, body, err
}

// field returns a string member of a JSON answer. Parsing all of it would cost more
// than the answer itself.
func field(answer []byte, name string) string {
	_, rest, _ := bytes.Cut(answer, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(value)
}
