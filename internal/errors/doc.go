// Package errors is the catalogue of APIG failures: the rows of the gateway's
// error table, and the value that carries one of them from where a request
// failed to where its answer is written. Import it as apierr.
//
// It owns the table's codes, statuses and messages, their OAuth error names and the
// cause and fix of each in English and Chinese. It does not own hints (they belong to
// the rule that failed) or the format of an answer.
package errors
