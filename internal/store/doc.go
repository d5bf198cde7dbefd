// Package store owns which store there is: a Target, which is the store's URL parsed
// and what belongs to it, the rules of a Target, and Open, which opens what it says.
// The stores themselves are in redis and memory, and storetest decides whether one is
// a token.Store.
//
// What only some stores can do is a method of theirs (Facts, CheckPermissions and
// Pool of redis); whoever needs it asserts an interface of its own.
package store
