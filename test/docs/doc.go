// Package docs owns the proof that the tutorial and the how-to pages work: each
// test runs the shell blocks of a page, in order, and compares what they print
// with what the page shows. Tests only.
//
// The convention of the pages:
//
//   - sh is run, by bash, in one empty directory per page, with authsvc on the
//     PATH; ../deploy is the repository's. A block that fails fails the test. A
//     how-to page begins with the blocks of docs/howto/README.md. Ports are
//     written ${NAME_PORT:-8080}, and the test sets each variable to a free one.
//   - output is what the block before it prints. "..." stands for anything
//     within a line, and on a line of its own for any lines.
//   - text is not run. The paragraph before it says why: "Not run: ...".
package docs
