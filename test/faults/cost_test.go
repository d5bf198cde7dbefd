package faults

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
)

// Nothing that a stranger sends in up to 32 KiB costs more CPU time than ten token
// requests, all of authsvc included: net/http, log, metrics. Times are measured in the
// full form only; the short one sees that every request is answered. What is allocated is
// counted in package httpapi.
func TestCostOfStrangers(t *testing.T) {
	sideBySide(t)
	strangersCost(t, authsvctest.BuildPlain(t), "").none(t)
	control(t, "headers are not counted", func(t *testing.T) {
		strangersCost(t, authsvctest.BuildPatched(t, authsvctest.StrangersFill), "headers: ").some(t, "headers: other names")
	})
}

// strangersCost compares the requests whose names begin with a text.
func strangersCost(t *testing.T, binary, begins string) *findings {
	f := &findings{}
	s := authsvctest.NewSite(t).StartBinary(binary, "memory://", "--trusted-proxies", "127.0.0.1")
	s.WaitReady()
	sender := &rawSender{addr: strings.TrimPrefix(s.URL, "http://")}
	defer sender.close()
	requests := slices.DeleteFunc(authsvctest.StrangerRequests(31<<10), func(r authsvctest.StrangerRequest) bool {
		return !strings.HasPrefix(r.Name, begins)
	})
	for _, r := range requests {
		if err := sender.send(r.Text, 1); err != nil {
			f.add("%s: %v", r.Name, err)
		}
	}
	if !*full || len(f.all) > 0 {
		return f
	}
	// The clock of /proc ticks 100 times a second, so each figure is of many requests; in
	// turns, so that what else the machine does hits both alike.
	const turns, tokens, each = 5, 2000, 200
	for _, r := range requests {
		var token, stranger time.Duration
		for range turns {
			before := cpuTime(t, s)
			_ = sender.send(authsvctest.IssueRequest, tokens)
			between := cpuTime(t, s)
			if err := sender.send(r.Text, each); err != nil {
				f.add("%s: %v", r.Name, err)
			}
			token += between - before
			stranger += cpuTime(t, s) - between
		}
		ratio := float64(stranger) / each / (float64(token) / tokens)
		figure(t, "cost: %s: %v, as much as %.1f token requests", r.Name, (stranger / turns / each).Round(time.Microsecond), ratio)
		if ratio > 10 {
			f.add("%s: costs as much as %.1f token requests", r.Name, ratio)
		}
	}
	return f
}

// rawSender sends requests as they stand, over one connection after another.
type rawSender struct {
	addr string
	conn net.Conn
	r    *bufio.Reader
}

func (s *rawSender) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.conn = nil
}

// send sends a request a number of times, and reads the answers.
func (s *rawSender) send(text string, times int) error {
	method, _, _ := strings.Cut(text, " ")
	for range times {
		if s.conn == nil {
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				return err
			}
			s.conn, s.r = conn, bufio.NewReader(conn)
		}
		_ = s.conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(s.conn, text) // it can be refused before all of it is sent
		for {
			res, err := http.ReadResponse(s.r, &http.Request{Method: method})
			if err != nil {
				s.close()
				return fmt.Errorf("no answer: %w", err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				return err
			}
			if res.Close {
				s.close()
			}
			if res.StatusCode != http.StatusContinue {
				break
			}
		}
	}
	return nil
}

// cpuTime returns the CPU time that a process has used, to a hundredth of a second.
func cpuTime(t *testing.T, s *authsvctest.Server) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	var user, system int64
	fields := strings.Fields(rest)
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
