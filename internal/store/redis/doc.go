// Package redis keeps the records of grants in Redis: one grant, one key.
//
// It owns the keys and the script that swaps a record, and turns the errors of the
// connection into those of token.Store. It does not own the connection (package
// redisconn).
package redis
