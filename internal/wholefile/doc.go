// Package wholefile owns how files that running services read are read, created and
// changed: within a limit; whole or not at all, by one command at a time, keeping their
// mode and owner. It does not own their content.
package wholefile
