// Package httpapi is the service on the wire: it parses a request once into a typed
// value, has the app authenticated, makes one call of token.Manager, and renders the
// answer.
//
// It owns the endpoints (one file each), the form parser, and the order in which the
// rules about a request answer. It does not own how an exchange is answered and
// logged (package answer), what a token is or when it is good (package token), who an
// app is (package app), what is measured (package telemetry), or listeners and their
// life (package process).
package httpapi
