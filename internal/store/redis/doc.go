// Package redis owns the store that keeps the records of grants in Redis: one key for each
// grant.
//
// It owns the keys and the scripts that swap and delete a record, and converts the errors of the
// connection into those of token.Store. It does not own the connection (package
// redisconn).
package redis
