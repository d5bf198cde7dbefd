// Package redistest owns real redis-servers for tests (a single server, a primary with
// replicas and Sentinels, a cluster), their faults, and the faults of the network
// between them and a client. Only tests import it.
package redistest
