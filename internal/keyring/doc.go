// Package keyring owns the keyring: the keys that sign tokens, their rotation, the pepper
// of the apps' secrets, the file that holds all of it, and the keyring that a process is
// using.
//
// It does not own what a key signs (package token) or how a secret is checked
// (package app).
package keyring
