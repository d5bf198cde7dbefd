package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"authsvc/internal/app"
	"authsvc/internal/token"
)

// appCommand is authsvc app.
func appCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "app",
		Short: "Prepare and check the apps file",
		Example: `  openssl rand -hex 32 | tee secret.txt | authsvc app hash --keys keys.json
  authsvc app check --apps apps.yaml`,
	}, appHash(), appCheck())
}

func appHash() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "hash --keys FILE",
		Short: "Hash a secret for the apps file",
		Long: `Reads a secret from the first line of standard input, or of a file, and prints its
hash under the pepper of the keyring: the value of secret_hash in the apps file.
The hash is good for the services that use this keyring only.`,
		Example: "  openssl rand -hex 32 | tee secret.txt | authsvc app hash --keys keys.json",
		Args:    cobra.NoArgs,
	}
	requiredFile(c, &file, "the keyring `FILE` of the services that will read the apps file")
	in := secretFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		ring, err := token.ReadKeyring(file)
		if err != nil {
			return err
		}
		secret, err := in.read(c)
		if err != nil {
			return err
		}
		pepper := ring.Pepper()
		fmt.Fprintln(c.OutOrStdout(), pepper.Hash(secret))
		return nil
	}
	return c
}

func appCheck() *cobra.Command {
	var apps, keys string
	c := &cobra.Command{
		Use:   "check --apps FILE",
		Short: "Say everything that is wrong with an apps file",
		Long: `Reads an apps file, and the secret files that it names, as authsvc serve does, and
prints every fault and every warning. The exit status is 0 where serve would take
the file. Secrets are never shown.

With --keys the keyring is read as well. Whether a secret_hash was made under it
can't be told from the outside: only a token request shows that.`,
		Example: `  authsvc app check --apps apps.yaml
  authsvc app check --apps apps.yaml --keys keys.json -o json`,
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&apps, "apps", "", "YAML `FILE` of the apps")
	c.Flags().StringVar(&keys, "keys", "", "keyring `FILE` of the service")
	if err := c.MarkFlagRequired("apps"); err != nil {
		panic(err) // the flag was defined two lines above
	}
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var pepper app.Pepper
		var faults []string
		if keys != "" {
			ring, err := token.ReadKeyring(keys)
			if err != nil {
				faults = append(faults, err.Error())
			} else {
				pepper = ring.Pepper()
			}
		}
		f, err := app.ReadFile(apps, pepper)
		if wrong := (*app.FileError)(nil); errors.As(err, &wrong) {
			faults = append(faults, wrong.Faults...)
		} else if err != nil {
			faults = append(faults, err.Error())
		}
		report := struct {
			checked
			Apps int `json:"apps"`
		}{newChecked(faults, append(f.Warnings, app.Warnings(f.Apps, token.DefaultGrace)...)), len(f.Apps)}
		if err := out.print(c, report, func(w io.Writer) {
			report.write(w)
			if report.OK {
				fmt.Fprintf(w, "%s: %s, no faults\n", apps, count(report.Apps, "app"))
			}
		}); err != nil {
			return err
		}
		if !report.OK {
			return fmt.Errorf("%s: %s", apps, count(len(faults), "fault"))
		}
		return nil
	}
	return c
}
