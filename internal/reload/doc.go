// Package reload owns when a watched file is read: at the start, and again when it has
// changed.
//
// It does not know the content: the keyring, the apps file and the TLS certificates each
// have an owner that reads them, and keeps the old one if the new one is bad.
package reload
