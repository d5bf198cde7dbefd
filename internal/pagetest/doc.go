// Package pagetest owns the tests of the documentation's pages: it runs the shell
// blocks of a page, in order, and compares their output with what the page shows. Only
// tests import it.
//
// The convention of the pages:
//
//   - sh is run, by bash, in one directory per page. A block that fails makes the test
//     fail. Ports are written ${NAME_PORT:-8080}, and each such variable is set to a
//     free port.
//   - output is the output of the block before it. "..." stands for anything inside a
//     line, and on a line of its own for any lines.
//   - diff FILE is an edit by hand: it changes the lines that "-" and " " mark, which
//     must be in exactly one place of FILE, to those that "+" and " " mark. "..." stands
//     for anything inside a line that is there, and $NAME, in a line to add, for the
//     variable of the blocks.
//   - text is not run. The paragraph before it says why: "(No test runs this block: ...)".
package pagetest
