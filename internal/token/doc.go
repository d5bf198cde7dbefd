// Package token decides about grants and tokens.
//
// It owns the grant and its rules, the signed token, the store's clock, the
// contract of a Store, and the Manager that puts them together. It does not own
// apps (package app), the keys that sign (package keyring), where grants are kept
// (package store), or HTTP (package httpapi).
//
// A grant is one record in the store; every change of it is one
// compare-and-swap. What happens to it is decided by a pure function of the
// grant, the request and the time (decide.go), so that a lost race, a repeated
// write and a retried request are all just another look at the grant.
package token
