// Package redis owns the store that keeps the records of grants in Redis: one key for each
// grant.
//
// It owns the keys, and the scripts that swap and delete a record. It asks each shard at
// least once a second, so that it is known when it could not be asked, and shares what it
// sees with other processes. It converts the errors of the connection into those of
// token.Store. It does not own the connection (package redisconn), or decide what an
// outage means for a grant (package token).
package redis
