// Package doctor owns what is wrong with an installation, for authsvc doctor, for
// serve, and for app check: each Finding says what, why it matters, and the command or
// the edit that fixes it, in the same words whoever shows it.
//
// It does not own the facts: package redisconn reads what Redis says of itself, and
// whoever reads a file says what it must be like. It decides by facts and by the
// reasons of errors, never by their texts, and changes nothing.
package doctor
