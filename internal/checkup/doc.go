// Package checkup owns what is wrong with an installation: each finding says what,
// why it matters, and the command or the edit that mends it.
//
// It does not own the facts: what Redis says of itself is package store's, and what
// a file must be like is said by who reads it. It changes nothing.
package checkup
