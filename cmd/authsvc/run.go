package main

import (
	"fmt"
	"io"
	"strings"

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

// run runs the command that args name, and returns the exit status: 0 for
// success, 1 for anything else, which has then been said on stderr.
func run(args []string, p process) int {
	root := rootCommand(p)
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		fmt.Fprintln(p.stderr, "authsvc:", err)
		return 1
	}
	return 0
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
		serveCommand(p), configCommand(p), keysCommand(), appCommand(),
		tokenCommand(p), explainCommand(p),
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
