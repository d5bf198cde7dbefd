// Package redistest owns a real redis-server for a test, and the faults between
// it and a client. Only tests import it.
package redistest
