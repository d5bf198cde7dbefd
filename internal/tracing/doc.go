// Package tracing owns the way of spans out of the process: which are recorded,
// what they say of the process, and what happens while nobody takes them. What a
// span says is the business of who makes it (httpapi, store).
package tracing
