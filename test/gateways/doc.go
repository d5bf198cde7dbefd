// Package gateways owns the proof that the recipes in deploy/gateways work: each test
// runs a real gateway with the recipe as it is, between a caller and a backend, and a
// real authsvc on a real Redis. It does not own what authsvc answers
// (internal/httpapi). Tests only.
package gateways
