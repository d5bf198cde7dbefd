package cli

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Env holds what a command may use of the process it runs in.
type Env struct {
	Vars           []string // the environment, as os.Environ returns it
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// value returns the value of a variable, or "" if it is not set.
func (env Env) value(name string) string {
	for _, v := range env.Vars {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
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

// errorTimeout bounds how long writing to standard error may block: a stalled reader must
// not keep a service from ending.
const errorTimeout = time.Second

// Run runs the command that args name, and returns the exit status: 0 for success,
// and for a failure, which has then been reported on env.Stderr, that of the command,
// usually 1.
func Run(args []string, env Env) int {
	out := &loudWriter{w: env.Stdout}
	env.Stdout = out
	root := rootCommand(env)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		err = out.err // output that can't be written is a failure
	}
	if err == nil {
		return 0
	}
	reported := make(chan struct{})
	go func() {
		fmt.Fprintln(env.Stderr, "authsvc:", printableLines(aToken.ReplaceAllString(err.Error(), "${1}_...")))
		close(reported)
	}()
	select {
	case <-reported:
	case <-time.After(errorTimeout):
	}
	if own := (statusError{}); errors.As(err, &own) {
		return own.status
	}
	return 1
}

// aToken matches a token, which errors must not show: it may be misplaced on a command
// line.
var aToken = regexp.MustCompile(`\b(at|rt)_[A-Za-z0-9_-]{20,}`)

// loudWriter keeps the first error of writing to w.
type loudWriter struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (o *loudWriter) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if o.err == nil && err != nil {
		o.err = fmt.Errorf("writing to standard output: %w", err)
	}
	return n, err
}

// rootCommand returns authsvc with all its commands.
func rootCommand(env Env) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "authsvc",
		Short: "App tokens for any API gateway: issue, refresh, introspect, verify, revoke",
		Example: `  authsvc serve --dev
  authsvc explain APIG.2208`,
		SilenceErrors: true,
		SilenceUsage:  true,
	},
		serveCommand(env), configCommand(env), keysCommand(env), appCommand(env), setupCommand(),
		tokenCommand(env), explainCommand(env), doctorCommand(env),
		healthcheckCommand(env), versionCommand(), manCommand(),
	)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	return root
}

// group makes c a command that only holds others. By default Cobra answers a misspelt
// subcommand with the help, and calls that a success.
func group(c *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	c.DisableFlagsInUseLine = true
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		hint := "authsvc help lists the commands"
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("%s has no command %q; %s", c.CommandPath(), args[0], hint)
	}
	c.AddCommand(subcommands...)
	return c
}
