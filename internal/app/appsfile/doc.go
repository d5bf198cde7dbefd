// Package appsfile owns the apps file: what it may say, everything that is wrong with
// one at once, and how a command changes it. It does not own what an app may do
// (package app), nor when the file is reloaded (package reload).
package appsfile
