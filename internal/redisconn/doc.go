// Package redisconn owns a connection to Redis 7.0 or later: one server, the primary that
// Sentinels name, or a Cluster. It knows which primary has a key, sends the commands of
// concurrent callers together, repeats those that may be repeated, and refuses calls at
// once while a primary does not answer. It leaves a primary that Sentinels have replaced,
// reads what each primary says about itself, and checks what it permits.
//
// It does not own what is stored under a key: its users bring their keys, commands and
// scripts, and convert its errors. It does not judge facts (package doctor does) or parse
// URLs (package store does). It hides go-redis.
package redisconn
