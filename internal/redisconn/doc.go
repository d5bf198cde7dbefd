// Package redisconn owns a connection to Redis 7.0 or later: one server, the
// primary that Sentinels name, or a Cluster. It knows which primary has a key,
// sends the commands of concurrent callers together, repeats those that may be,
// and refuses calls at once while a primary is known not to answer. It reads what
// each primary says of itself, and checks what it permits.
//
// It does not own what is kept under a key: its users bring their keys, commands
// and scripts, and turn its errors into theirs. It decides nothing about a fact
// (package doctor does), and parses no URL (package store does). go-redis stays
// behind it.
package redisconn
