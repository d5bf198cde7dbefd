// Package store owns where grants are kept: implementations of token.Store, side
// by side. Redis is the one to run; Memory is for one process that may forget
// everything when it ends.
//
// It decides nothing about grants (package token), and a record is bytes to it.
package store
