// Command bench measures authsvc against two baselines, in one run on one
// machine: a bare gin handler that parses the form and answers bytes of the same
// length (what the HTTP framework can do at most), and stock go-oauth2 on Redis.
//
// The three take turns, round by round, under one load generator, so that what
// else happens on the machine happens to all of them. The ratios are the result;
// the absolute numbers are the machine's. See docs/benchmarks.md.
//
// It owns the load generator and the baselines. Nothing of it is linked into
// authsvc.
package main
