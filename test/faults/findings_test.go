package faults

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"authsvc/internal/authsvctest"
)

// sideBySide lets the short form of a test run in parallel with others. The full form
// measures, so it has the machine to itself.
func sideBySide(t *testing.T) {
	t.Helper()
	if !*full {
		t.Parallel()
	}
}

// findings collects what a scenario saw and must not happen. A scenario returns it
// rather than failing the test, because its negative control must find something. It is
// safe for concurrent use.
type findings struct {
	mu  sync.Mutex
	all []string
}

func (f *findings) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, fmt.Sprintf(format, args...))
}

// join adds the findings of others.
func (f *findings) join(others *findings) {
	for _, text := range others.all {
		f.add("%s", text)
	}
}

// want adds a finding unless an answer has this status and this error code, and reports
// whether it has.
func (f *findings) want(what string, a authsvctest.Answer, status int, code string) bool {
	if a.Status == status && a.Text("error_code") == code {
		return true
	}
	f.add("%s: %d %s, want %d %s", what, a.Status, a.Body, status, code)
	return false
}

// active adds a finding unless an introspection found its token active.
func (f *findings) active(what string, a authsvctest.Answer) {
	if a.Status != 200 || !a.Active() {
		f.add("%s: not active: %d %s", what, a.Status, a.Body)
	}
}

// inactive adds a finding unless an introspection found its token inactive, with this
// code as the reason.
func (f *findings) inactive(what string, a authsvctest.Answer, code string) {
	if a.Status != 200 || a.Active() || a.Text("error_code") != code {
		f.add("%s: not inactive with %s: %d %s", what, code, a.Status, a.Body)
	}
}

// none fails the test if anything was found.
func (f *findings) none(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, text := range f.all {
		if i == 10 {
			t.Errorf("and %d more", len(f.all)-i)
			break
		}
		t.Error(text)
	}
}

// some fails a negative control unless a finding begins with a text.
func (f *findings) some(t *testing.T, begins string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	n, first := 0, ""
	for _, text := range f.all {
		if strings.HasPrefix(text, begins) {
			if n++; n == 1 {
				first = text
			}
		}
	}
	if n == 0 {
		t.Errorf("without the protection, no finding begins with %q; %d findings, such as %q", begins, len(f.all), f.all[:min(10, len(f.all))])
		return
	}
	figure(t, "%d found of %q, such as: %s", n, begins, first)
}
