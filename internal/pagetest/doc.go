// Package pagetest owns how the pages of the documentation are tried out: it runs the
// shell blocks of a page, in order, and compares what they print with what the page
// shows. For tests only.
//
// The convention of the pages:
//
//   - sh is run, by bash, in one directory per page. A block that fails fails the
//     test. Ports are written ${NAME_PORT:-8080}, and each such variable is set to a
//     free one.
//   - output is what the block before it prints. "..." stands for anything
//     within a line, and on a line of its own for any lines.
//   - text is not run. The paragraph before it says why: "Not run: ...".
package pagetest
