// Package appsfile owns the apps file: its format, the report of everything that is wrong
// with one, and how commands change it. It does not own what an app may do (package app),
// or when the file is reloaded (package reload).
package appsfile
