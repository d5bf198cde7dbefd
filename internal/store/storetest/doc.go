// Package storetest owns the test of the contract of token.Store: one suite, run over
// every implementation. Only tests import it.
package storetest
