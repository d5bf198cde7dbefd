// Command authsvc issues, refreshes, checks and revokes app tokens.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], process{environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}))
}
