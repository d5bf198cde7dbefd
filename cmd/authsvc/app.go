package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"authsvc/internal/app"
	"authsvc/internal/token"
)

// appCommand is authsvc app.
func appCommand() *cobra.Command {
	apps := &cobra.Command{
		Use:   "app",
		Short: "Prepare entries of the apps file",
		Args:  cobra.NoArgs,
	}
	var file string
	hash := &cobra.Command{
		Use:   "hash --keys FILE",
		Short: "Hash a secret for the apps file",
		Long: `Reads a secret from the first line of standard input and prints its hash under
the pepper of the keyring: the value of secret_hash in the apps file. The hash is
good for the services that use this keyring only.`,
		Example: "  openssl rand -hex 32 | tee secret.txt | authsvc app hash --keys keys.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ring, err := token.ReadKeyring(file)
			if err != nil {
				return err
			}
			line := bufio.NewScanner(c.InOrStdin())
			if !line.Scan() {
				return errors.New("there is no secret on standard input")
			}
			secret := strings.TrimSuffix(line.Text(), "\r")
			if !app.ValidSecret(secret) {
				return errors.New("what stands on standard input cannot be a secret: 8 to 128 of the characters A-Z a-z 0-9 _ - ! @ # $ % and a letter or digit first")
			}
			pepper := ring.Pepper()
			fmt.Fprintln(c.OutOrStdout(), pepper.Hash(secret))
			return nil
		},
	}
	requiredFile(hash, &file, "the keyring of the services that will read the apps file")
	apps.AddCommand(hash)
	return apps
}
