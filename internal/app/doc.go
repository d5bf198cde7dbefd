// Package app owns the apps: who they are, the hashes of their secrets, and what each
// may do.
//
// It owns the App, the format of keys and secrets, the hashing and checking of secrets,
// and the Registry of the apps that a process knows. It does not own where apps come from
// (package appsfile), grants or tokens (package token), or how an app presents its secret
// (package httpapi).
package app
