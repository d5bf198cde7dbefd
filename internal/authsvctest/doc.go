// Package authsvctest owns running authsvc processes for tests: it builds the command,
// starts it on free loopback ports, sends it requests and stops it. Only tests import
// it.
package authsvctest
