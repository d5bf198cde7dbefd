package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"

	"authsvc/internal/cli"
)

const commandsText = `# Commands

What ` + "`authsvc COMMAND --help`" + ` says of each command, and ` + "`authsvc man DIR`" + ` writes as
manual pages. With docker compose, run those that change files in ` + "`init`" + `
(` + "`docker compose run --rm init keys rotate`" + `), and the others in a replica
(` + "`docker compose exec authsvc-1 authsvc doctor`" + `).

`

var (
	subcommand = regexp.MustCompile(`(?m)^  ([a-z-]+) +(\S.*)$`)
	helpFlag   = regexp.MustCompile(`(?m)^  -h, --help .*\n`)
	outputFlag = regexp.MustCompile(`(?m)^  -o, --output .*\n`)
	moreLine   = regexp.MustCompile(`\nUse "authsvc .*\n`)
)

// commandsPage returns the page of the commands: a table of all, and the help of each.
func commandsPage() (string, error) {
	var table, each strings.Builder
	head(&table, "command", "for")
	var add func(path []string) error
	add = func(path []string) error {
		var out bytes.Buffer
		if status := cli.Run(append(path, "--help"), cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard}); status != 0 {
			return fmt.Errorf("the help of authsvc %s: status %d", strings.Join(path, " "), status)
		}
		text, list, _ := strings.Cut(out.String(), "\nAvailable Commands:\n")
		list, flags, _ := strings.Cut(list, "\n\n")
		if list == "" || strings.Contains(text, "[flags]") { // else it only has subcommands
			fmt.Fprintf(&each, "\n## authsvc %s\n\n%s", strings.Join(path, " "), section(text+"\n"+flags))
		}
		for _, m := range subcommand.FindAllStringSubmatch(list, -1) {
			sub := append(append([]string{}, path...), m[1])
			row(&table, code(strings.Join(sub, " ")), escape(m[2]))
			if sub[0] == "completion" && path != nil || m[1] == "help" {
				continue // long, and the same for every program
			}
			if err := add(sub); err != nil {
				return err
			}
		}
		return nil
	}
	err := add(nil)
	return header + commandsText + table.String() + each.String(), err
}

// section returns the help of a command as the page has it.
func section(help string) string {
	help = moreLine.ReplaceAllString(helpFlag.ReplaceAllString(help, ""), "")
	after := ""
	if strings.Contains(help, "--access-ttl ") {
		output := outputFlag.FindString(help)
		help, _, _ = strings.Cut(help, "Flags:\n")
		help, after = help+"Flags:\n"+output, "\nThe [settings](settings.md) are flags of it, too.\n"
	}
	return "```\n" + strings.TrimSuffix(strings.TrimSpace(help), "\n\nFlags:") + "\n```\n" + after
}
