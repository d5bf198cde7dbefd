// Package store owns the choice of the store: Target, the parsed URL with the other
// settings of a store; the rules of a Target; and Open, which opens it. The stores
// themselves are in redis and memory, and storetest tests whether one is a token.Store.
//
// What only some stores can do is a method of theirs (Facts, CheckPermissions and Pool of
// redis); users assert an interface of their own.
package store
