// Command authsvc issues, refreshes, checks and revokes app tokens.
package main

import (
	"os"

	"authsvc/internal/cli"
)

func main() {
	os.Exit(cli.Run(os.Args[1:], cli.Env{Vars: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
}
