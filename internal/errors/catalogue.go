package errors

import (
	"iter"
	"strings"
)

// Lang is a language that causes and fixes are written in.
type Lang uint8

// The languages of the catalogue.
const (
	English Lang = iota
	Chinese
)

type text struct{ en, zh string }

func (t text) in(l Lang) string {
	if l == Chinese {
		return t.zh
	}
	return t.en
}

type row struct {
	code    string
	status  int
	oauth   string
	message string
	cause   text
	fix     text
}

func (r Row) row() row {
	if r < 1 || int(r) > len(rows) {
		// Only a programming error can produce a value that no constant names, and an
		// unforeseen failure is APIG.0601.
		r = Internal
	}
	return rows[r-1]
}

// Code returns the row's code, such as "APIG.2208".
func (r Row) Code() string { return r.row().code }

// Status returns the HTTP status that the table gives the row. It need not be one that
// net/http names: APIG.0201 has 494.
func (r Row) Status() int { return r.row().status }

// Message returns the row's message, exactly as in the table.
func (r Row) Message() string { return r.row().message }

// OAuthName returns the OAuth error name of the row: one of RFC 6749 section 5.2 if one
// fits, else of section 4.1.2.1 or RFC 6750 section 3.1.
func (r Row) OAuthName() string { return r.row().oauth }

// Cause returns what leads to the row.
func (r Row) Cause(l Lang) string { return r.row().cause.in(l) }

// Fix returns what the reader can do about it.
func (r Row) Fix(l Lang) string { return r.row().fix.in(l) }

// All returns an iterator over all rows, in the table's order.
func All() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for i := range rows {
			if !yield(Row(i + 1)) {
				return
			}
		}
	}
}

// ByCode returns all rows of a code, in the table's order, or none for a code that is
// not in the table. "2208", "apig.2208" and "APIG.2208" are the same.
func ByCode(code string) []Row {
	code = strings.ToUpper(code)
	if !strings.HasPrefix(code, "APIG.") {
		code = "APIG." + code
	}
	var found []Row
	for r := range All() {
		if r.Code() == code {
			found = append(found, r)
		}
	}
	return found
}
