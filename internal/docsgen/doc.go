// Command docsgen owns the generated pages of docs/reference: it writes down the
// commands, settings, metrics and error rows that it gets from the code.
package main
