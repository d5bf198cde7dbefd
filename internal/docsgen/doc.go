// Command docsgen owns the generated pages of docs/reference: it asks the code
// for its settings, metrics and error rows, and writes down the answers.
package main
