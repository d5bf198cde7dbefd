// Package process owns the proof that a running authsvc works: each test starts real
// processes, with the memory store or a real Redis, and judges them by their answers,
// logs, metrics and traces. What they promise while something fails is in test/faults.
// Tests only.
package process
