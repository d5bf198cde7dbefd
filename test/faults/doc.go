// Package faults owns the proof that the service keeps its promises while what it
// stands on fails: each test does damage to a real Redis, network or process under
// load, and judges the history of what callers were told. docs/reliability.md says
// what is promised. Tests only.
//
// Each test has two sizes: go test runs the short one, which asserts counts and
// order; make test-faults runs the full one, with the times, and reports figures.
// Each has a negative control, a build of authsvc without the protection that is
// tested (authsvctest.BuildPatched), which the same judge must find at fault.
package faults
