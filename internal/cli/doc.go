// Package cli owns what a person types and reads: the commands of authsvc, their
// flags, help and manual pages, what they print as text and as JSON, and the exit
// status.
//
// The commands decide nothing themselves, and call the package that owns the subject:
// process runs the service, config has the settings, doctor the findings, tokenclient the
// exchange that token get shows.
package cli
