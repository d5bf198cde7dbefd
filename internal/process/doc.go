// Package process owns one running service: it wires the packages together, opens the
// listeners, watches the files, monitors Redis, tells systemd, and drains. It takes
// checked settings and runs until its context ends.
//
// It decides nothing about requests (package httpapi) or tokens (package token), and
// reads no flag and no variable (package cli).
package process
