package faults

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"authsvc/internal/authsvctest"
)

// sideBySide lets the short form of a test run beside others. The full form
// measures, so it has the machine to itself.
func sideBySide(t *testing.T) {
	t.Helper()
	if !*full {
		t.Parallel()
	}
}

// findings is what a scenario saw that must not be. A scenario returns it rather
// than failing the test, because its negative control must find something. It is
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

// join adds what others hold.
func (f *findings) join(others *findings) {
	for _, text := range others.all {
		f.add("%s", text)
	}
}

// want finds fault with an answer that is neither a success nor the row of a code,
// and tells whether there was none.
func (f *findings) want(what string, a authsvctest.Answer, status int, code string) bool {
	if a.Status == status && a.Text("error_code") == code {
		return true
	}
	f.add("%s: %d %s, want %d %s", what, a.Status, a.Body, status, code)
	return false
}

// active finds fault with an introspection that does not find its token active.
func (f *findings) active(what string, a authsvctest.Answer) {
	if a.Status != 200 || !a.Active() {
		f.add("%s: not active: %d %s", what, a.Status, a.Body)
	}
}

// inactive finds fault with an introspection that does not find its token inactive
// for the reason of a code.
func (f *findings) inactive(what string, a authsvctest.Answer, code string) {
	if a.Status != 200 || a.Active() || a.Text("error_code") != code {
		f.add("%s: not inactive with %s: %d %s", what, code, a.Status, a.Body)
	}
}

// none fails the test where something was found.
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

// some fails a negative control where nothing was found that begins with a text.
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
		t.Errorf("without the protection nothing is found that begins with %q; all that is found: %q", begins, f.all)
		return
	}
	figure(t, "%d found of %q, such as: %s", n, begins, first)
}
