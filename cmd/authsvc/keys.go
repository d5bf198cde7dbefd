package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"authsvc/internal/token"
)

// keysCommand is authsvc keys.
func keysCommand() *cobra.Command {
	keys := &cobra.Command{
		Use:   "keys",
		Short: "Make a keyring",
		Args:  cobra.NoArgs,
	}
	var file string
	initialize := &cobra.Command{
		Use:   "init --keys FILE",
		Short: "Make a new keyring",
		Long: `Makes a keyring: a signing key for tokens, and the pepper under which the apps'
secrets are hashed. Every replica needs the same file. Keep a copy in a safe
place: without it every token ends, and every secret_hash is worthless.

A file that exists is left alone.`,
		Example: "  authsvc keys init --keys keys.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			err := token.NewKeyring(time.Now()).CreateFile(file)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s exists. A keyring that is replaced ends every token and every secret_hash; name another file, or move it away if that is what you want", file)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "made keyring", file)
			return nil
		},
	}
	requiredFile(initialize, &file, "the file to make")
	keys.AddCommand(initialize)
	return keys
}

// requiredFile gives a command the flag --keys.
func requiredFile(c *cobra.Command, file *string, usage string) {
	c.Flags().StringVar(file, "keys", "", usage)
	if err := c.MarkFlagRequired("keys"); err != nil {
		panic(err) // the flag was defined a line above
	}
}
