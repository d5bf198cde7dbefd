// Package token owns grants and tokens: the grant and its rules, the signed token, the
// store's clock, the contract of a Store, and the Manager that combines them. It does not
// own apps (package app), signing keys (package keyring), the storage of grants (package
// store), or HTTP (package httpapi).
//
// A grant is one record in the store, and every change of it is one compare-and-swap. A
// pure function of the grant, the request and the time decides what happens to it
// (decide.go), so that after a lost race, a repeated write or a retried request, it is
// enough to read the grant again.
package token
