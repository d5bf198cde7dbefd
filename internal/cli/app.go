package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"authsvc/internal/app"
	"authsvc/internal/app/appsfile"
	"authsvc/internal/doctor"
	"authsvc/internal/keyring"
	"authsvc/internal/token"
)

// appCommand returns authsvc app.
func appCommand(env Env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "app",
		Short: "Check and change the apps file",
		Example: `  authsvc app add orders-batch-01 --scopes orders.read --apps apps.yaml --keys keys.json
  authsvc app check --apps apps.yaml`,
	}, appAdd(env), appReplace(env), appCheck(env), appHash(env))
}

func appAdd(env Env) *cobra.Command {
	var apps, keys string
	var a app.App
	c := &cobra.Command{
		Use:   "add KEY --apps FILE --keys FILE",
		Short: "Add an app, and show its secret",
		Long: `Adds an app to the apps file, with a secret of 256 bits, and prints the secret. It
is shown only this once: the file holds its hash. Running servers reload the file
on their own, within two seconds.

A key that belonged to an app before needs a higher generation than that app had,
written by hand: otherwise its old tokens are valid again. The rest of the file is
left as it is. Everything else about the app (lifetimes, addresses, a frozen state)
is written into its entry by hand.`,
		Example: `  authsvc app add orders-batch-01 --scopes orders.read,orders.write --apps apps.yaml --keys keys.json
  authsvc app add edge-gateway --roles introspect --apps apps.yaml --keys keys.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name the key of the new app, as in: authsvc app add orders-batch-01")
			}
			return nil
		},
	}
	appsFlag(c, env, &apps)
	keysFlag(c, env, &keys, keysOfApps)
	c.Flags().StringVar(&a.Name, "name", "", "a name for people")
	c.Flags().StringSliceVar(&a.Scopes, "scopes", nil, "its `SCOPES`, separated by commas")
	c.Flags().StringSliceVar(&a.Roles, "roles", nil, "its `ROLES`: introspect, for a gateway")
	complete(c, "roles", app.RoleIntrospect)
	c.RunE = func(c *cobra.Command, args []string) error {
		ring, err := keyring.Read(keys)
		if err != nil {
			return err
		}
		pepper, secret := ring.Pepper(), app.GenerateSecret()
		a.Key, a.Secrets = args[0], []app.Secret{{Hash: pepper.Hash(secret)}}
		if _, err := appsfile.Add(apps, pepper, a); err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "added app %s to %s; its secret is shown this once:\n", a.Key, apps)
		fmt.Fprintln(c.OutOrStdout(), secret)
		return nil
	}
	return c
}

func appReplace(env Env) *cobra.Command {
	var apps, keys string
	c := &cobra.Command{
		Use:   "replace --apps FILE --keys FILE",
		Short: "Replace the apps file, if the new one has no faults",
		Long: `Reads an apps file from standard input and replaces the present one with it, whole
or not at all, keeping its mode and owner. A file with a fault changes nothing,
and neither does one that servers would refuse because it would make revoked
tokens valid again. Use it to change an apps file in a volume.`,
		Example: "  authsvc app replace --apps apps.yaml --keys keys.json < edited.yaml",
		Args:    cobra.NoArgs,
	}
	appsFlag(c, env, &apps)
	keysFlag(c, env, &keys, keysOfApps)
	c.RunE = func(c *cobra.Command, _ []string) error {
		ring, err := keyring.Read(keys)
		if err != nil {
			return err
		}
		prompt(c, "the apps file, and end it with Ctrl-D")
		text, err := io.ReadAll(c.InOrStdin())
		if err != nil {
			return fmt.Errorf("reading the new apps file: %w", err)
		}
		f, err := appsfile.Replace(apps, ring.Pepper(), text)
		if err != nil {
			return err
		}
		for _, w := range warnings(apps, f) {
			fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
		}
		fmt.Fprintf(c.OutOrStdout(), "replaced %s: %s\n", apps, count(len(f.Apps), "app"))
		return nil
	}
	return c
}

// appsFlag gives a command the flag --apps for an existing apps file. AUTHSVC_APPS
// can replace it, as for serve.
func appsFlag(c *cobra.Command, env Env, file *string) {
	fileFlag(c, env, "apps", file, "YAML `FILE` of the apps")
}

const keysOfApps = "the keyring `FILE` of the services that read the apps file"

// warnings returns what the doctor finds wrong with a good apps file.
func warnings(path string, f appsfile.File) []string {
	var list []string
	for _, found := range doctor.GoodApps(path, f, token.DefaultGrace) {
		list = append(list, printable(found.Warning()))
	}
	return list
}

func appHash(env Env) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "hash --keys FILE",
		Short: "Hash a secret for the apps file",
		Long: `Reads a secret from the first line of standard input, or of a file, and prints its
hash under the pepper of the keyring: the value of secret_hash in the apps file.
The hash works only for the services that use this keyring.`,
		Example: "  openssl rand -hex 32 | tee secret.txt | authsvc app hash --keys keys.json",
		Args:    cobra.NoArgs,
	}
	keysFlag(c, env, &file, keysOfApps)
	in := secretFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		ring, err := keyring.Read(file)
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

func appCheck(env Env) *cobra.Command {
	var apps, keys string
	c := &cobra.Command{
		Use:   "check --apps FILE",
		Short: "Report everything that is wrong with an apps file",
		Long: `Reads an apps file, and the secret files that it names, as authsvc serve does, and
prints every fault and every warning. The exit status is 0 where serve would take
the file. Secrets are never shown.

With --keys the keyring is read as well. Whether a secret_hash was made with it
can't be checked: only a token request shows that.`,
		Example: `  authsvc app check --apps apps.yaml
  authsvc app check --apps apps.yaml --keys keys.json -o json`,
		Args: cobra.NoArgs,
	}
	appsFlag(c, env, &apps)
	c.Flags().StringVar(&keys, "keys", "", "keyring `FILE` of the service")
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var pepper app.Pepper
		var faults []string
		if keys != "" {
			ring, err := keyring.Read(keys)
			if err != nil {
				faults = append(faults, err.Error())
			} else {
				pepper = ring.Pepper()
			}
		}
		f, err := appsfile.Read(apps, pepper, nil)
		if wrong := (*appsfile.Error)(nil); errors.As(err, &wrong) {
			faults = append(faults, wrong.Faults...)
		} else if err != nil {
			faults = append(faults, err.Error())
		}
		report := struct {
			checked
			Apps int `json:"apps"`
		}{newChecked(faults, warnings(apps, f)), len(f.Apps)}
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
