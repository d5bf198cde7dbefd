// Package memory owns the store that keeps the records of grants in this process, which
// loses them when it ends.
package memory
