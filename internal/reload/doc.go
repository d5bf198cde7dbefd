// Package reload owns when a watched file is read: at the start, and again when it has
// changed.
//
// It does not know what is in the file: the keyring, the apps file and the TLS
// certificates each have an owner that reads them, and keeps the old where the new is
// bad.
package reload
