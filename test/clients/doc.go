// Package clients owns the proof that real OAuth clients work with authsvc, and that
// what docs/clients.md tells their users is true: each test runs a client as its users
// do, against a real authsvc on a real Redis. It does not own what authsvc answers
// (internal/httpapi). Tests only.
package clients
