// Package storetest owns the decision whether a store is a store: one suite, run
// over every implementation of token.Store. Only tests import it.
package storetest
