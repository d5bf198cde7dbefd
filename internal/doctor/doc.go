// Package doctor owns the findings about an installation, for authsvc doctor, serve and
// app check: each Finding says what is wrong, why it matters, and which command or edit
// fixes it, in the same words wherever it is shown.
//
// It does not own the facts: package redisconn reads what Redis reports about itself,
// and the package that reads a file decides whether it is valid. It judges by facts and
// by the reasons of errors, never by their texts, and changes nothing.
package doctor
