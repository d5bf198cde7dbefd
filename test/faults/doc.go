// Package faults owns the proof that the service keeps its promises while what it
// depends on fails: each test damages a real Redis, network or process under load, and
// judges the history of the answers that callers got. docs/reliability.md says what is
// promised. Tests only.
//
// Each test has two sizes: go test runs the short one, which asserts counts and order;
// make test-faults runs the full one, with the times, and reports figures. Each has a
// negative control, a build of authsvc without the protection under test
// (authsvctest.BuildPatched), in which the same judge must find faults.
package faults
