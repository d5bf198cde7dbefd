package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// process is what a command may touch of the process it runs in.
type process struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// env is a variable of the environment; empty where it is not set.
func (p process) env(name string) string {
	for _, e := range p.environ {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// statusError is an error with an exit status of its own.
type statusError struct {
	error
	status int
}

// run runs the command that args name, and returns the exit status: 0 for
// success, that of a statusError, and 1 for anything else. What was no success
// has then been said on stderr.
func run(args []string, p process) int {
	out := &loudWriter{w: p.stdout}
	p.stdout = out
	root := rootCommand(p)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		err = out.err // what was not written was not done
	}
	if err == nil {
		return 0
	}
	// A reader of standard error that has stalled must not keep a service from ending.
	said := make(chan struct{})
	go func() {
		fmt.Fprintln(p.stderr, "authsvc:", aToken.ReplaceAllString(err.Error(), "${1}_..."))
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(logFlushTime):
	}
	if own := (statusError{}); errors.As(err, &own) {
		return own.status
	}
	return 1
}

// aToken is what no error shows: a token in the wrong place of a command line.
var aToken = regexp.MustCompile(`\b(at|rt)_[A-Za-z0-9_-]{20,}`)

// loudWriter is standard output, and the first error of writing to it.
type loudWriter struct {
	w   io.Writer
	err error
}

// Write is io.Writer's.
func (o *loudWriter) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if o.err == nil && err != nil {
		o.err = fmt.Errorf("writing to standard output: %w", err)
	}
	return n, err
}

// rootCommand is authsvc with everything it can do.
func rootCommand(p process) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "authsvc",
		Short: "App tokens for any API gateway: issue, refresh, introspect, verify, revoke",
		Example: `  authsvc serve --dev
  authsvc explain APIG.2208`,
		SilenceErrors: true,
		SilenceUsage:  true,
	},
		serveCommand(p), configCommand(p), keysCommand(p), appCommand(p), setupCommand(),
		tokenCommand(p), explainCommand(p), doctorCommand(p),
		healthcheckCommand(p), versionCommand(), manCommand(),
	)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	return root
}

// group is a command that only holds others. Cobra alone prints the help of one
// whose subcommand is misspelt, and calls that a success.
func group(c *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	c.DisableFlagsInUseLine = true
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		hint := "authsvc help lists what there is"
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("%s has no command %q; %s", c.CommandPath(), args[0], hint)
	}
	c.AddCommand(subcommands...)
	return c
}
