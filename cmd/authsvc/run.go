package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// process is what a command may touch of the process it runs in.
type process struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// run runs the command that args name, and returns the exit status: 0 for
// success, 1 for anything else, which has then been said on stderr.
func run(args []string, p process) int {
	root := &cobra.Command{
		Use:           "authsvc",
		Short:         "App tokens for any API gateway: issue, refresh, introspect, verify, revoke",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.AddCommand(serveCommand(p), keysCommand(), appCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(p.stderr, "authsvc:", err)
		return 1
	}
	return 0
}
