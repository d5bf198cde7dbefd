// Package process owns the proof that a running authsvc does its work: each test
// starts real processes, on memory or on a real Redis, and judges them by what they
// answer, log, measure and send. What they promise while something fails is in
// test/faults. Tests only.
package process
