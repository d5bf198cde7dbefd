// Package memory keeps the records of grants in this process, which forgets
// everything when it ends.
package memory
