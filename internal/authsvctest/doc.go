// Package authsvctest owns running authsvc processes for tests: it builds the
// command, starts it on free loopback ports, talks to it and ends it. Tests only.
package authsvctest
