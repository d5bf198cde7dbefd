package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"authsvc/internal/app"
)

// secretInput is where a command gets an app's secret from: a file, or the first line of
// standard input. It is never a flag or a variable: other users of a machine can see the
// arguments of a process, and a shell records them.
type secretInput struct{ file string }

func secretFlag(c *cobra.Command) *secretInput {
	in := &secretInput{}
	c.Flags().StringVar(&in.file, "secret-file", "", "`FILE` whose first line is the secret (default: standard input)")
	return in
}

// read returns the secret. Its errors do not quote what was read.
func (in *secretInput) read(c *cobra.Command) (string, error) {
	from, where := c.InOrStdin(), "on standard input"
	if in.file != "" {
		f, err := os.Open(in.file)
		if err != nil {
			return "", fmt.Errorf("--secret-file: %w", err)
		}
		defer f.Close()
		from, where = f, "in "+in.file
	} else {
		prompt(c, "the secret (it will show)")
	}
	secret, err := firstLine(from)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the secret: %w", err)
	case secret == "":
		return "", fmt.Errorf("there is no secret %s", where)
	case !app.ValidSecret(secret):
		return "", errors.New("the text " + where + " cannot be a secret: it must be 8 to 128 of the characters A-Z a-z 0-9 _ - ! @ # $ %, and begin with a letter or a digit")
	}
	return secret, nil
}

// prompt asks for input if a person types it: a command that just hangs looks broken.
func prompt(c *cobra.Command, what string) {
	if f, ok := c.InOrStdin().(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			fmt.Fprintf(c.ErrOrStderr(), "Type or paste %s, and press Enter: ", what)
		}
	}
}

// firstLine returns the first line without its line ending, or "" if there is none.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}
