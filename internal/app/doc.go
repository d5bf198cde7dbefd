// Package app knows the apps: who they are, the hashes of their secrets, and
// what each may do.
//
// It owns the App, the shape of keys and secrets, the hashing and checking of
// secrets, the Registry that a process asks, and the apps file. It does not own
// grants or tokens (package token), nor how an app presents its secret
// (package httpapi).
package app
