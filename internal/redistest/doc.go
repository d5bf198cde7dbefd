// Package redistest owns real redis-servers for a test, and the faults of them and
// between them and a client: one server, a primary with replicas and Sentinels, a
// cluster. Only tests import it.
package redistest
