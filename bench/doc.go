// Command bench measures authsvc against two baselines, in one run on one machine: a
// bare gin handler that parses the form and answers with the same number of bytes (the
// most that the HTTP framework can do), and stock go-oauth2 on Redis.
//
// The three take turns, round by round, under one load generator, so that whatever else
// happens on the machine affects all of them. The ratios are the result; the absolute
// numbers depend on the machine. See docs/benchmarks.md.
//
// It owns the load generator and the baselines. None of it is linked into authsvc.
package main
