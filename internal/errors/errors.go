package errors

import (
	"fmt"
	"strings"
	"time"
)

// Error is one failed request: the row that the caller gets, the hint that says what to
// do about it, and the cause that is only logged.
//
// A Row is an error as well, so errors.Is(err, AppFrozen) holds for an *Error
// of that row, and errors.As finds the *Error behind any wrapping.
type Error struct {
	// Row is what the caller gets: code, status and message.
	Row Row
	// Hint is shown to the caller as error_description: which parameter, what
	// was wrong with it, what to do. It holds nothing secret, of what the caller
	// sent at most names, a scope and its address, and only the characters of RFC
	// 6749 section 5.2.
	Hint string
	// OAuth replaces the row's OAuth error name if a row stands for several (APIG.2205
	// is invalid_request, and invalid_scope for a scope). Empty means the row's own.
	OAuth string
	// RetryAfter is how long the caller should wait; 0 means not specified.
	RetryAfter time.Duration
	// Cause is the internal reason. It is logged, never shown.
	Cause error
}

// New returns an *Error of a row with a hint for the caller.
func New(row Row, hint string) *Error { return &Error{Row: row, Hint: hint} }

// Wrap is like New, with the internal cause, which is logged and never shown.
func Wrap(row Row, hint string, cause error) *Error {
	return &Error{Row: row, Hint: hint, Cause: cause}
}

// Error returns the row, the hint and the cause: text for a log, not for a caller.
func (e *Error) Error() string {
	s := e.Row.Error()
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap lets errors.Is and errors.As see both the row and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Row}
	}
	return []error{e.Row, e.Cause}
}

// OAuthName returns the value of the error member of the answer: the OAuth override if
// there is one, else the row's name.
func (e *Error) OAuthName() string {
	if e.OAuth != "" {
		return e.OAuth
	}
	return e.Row.OAuthName()
}

// Description returns the value of the error_description member of the answer: the
// hint, in the characters of RFC 6749 section 5.2 whatever it holds.
func (e *Error) Description() string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, e.Hint)
}

// Error makes a bare row usable as an error, and as the target of errors.Is.
func (r Row) Error() string { return fmt.Sprintf("%s %s", r.Code(), r.Message()) }
