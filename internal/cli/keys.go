package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"authsvc/internal/keyring"
)

// keysCommand returns authsvc keys.
func keysCommand(env Env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "keys",
		Short: "Create a keyring, and rotate its signing keys",
		Example: `  authsvc keys init --keys keys.json
  authsvc keys rotate --keys keys.json && authsvc keys prune --keys keys.json
  authsvc keys list --keys keys.json`,
	}, keysInit(env), keysRotate(env), keysList(env), keysDrop(env), keysPrune(env))
}

func keysInit(env Env) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "init --keys FILE",
		Short: "Create a keyring",
		Long: `Creates a keyring: a signing key for tokens, and the pepper that the apps' secrets
are hashed with. Every replica needs the same file. Keep a copy in a safe place:
without it every token ends, and every secret_hash is worthless.

An existing file is left alone.`,
		Example: "  authsvc keys init --keys keys.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			err := keyring.New(time.Now()).CreateFile(file)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s exists. Replacing a keyring ends every token and makes every secret_hash worthless; name another file, or move this one away if that is what you want", file)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "created keyring", file)
			return nil
		},
	}
	keysFlag(c, env, &file, "the `FILE` to create")
	return c
}

func keysRotate(env Env) *cobra.Command {
	var file string
	var insist bool
	c := &cobra.Command{
		Use:   "rotate --keys FILE",
		Short: "Add a signing key that every replica knows before it signs",
		Long: `Adds a signing key. Running servers reload the file on their own; tokens signed by
older keys stay valid until they expire. After that, prune removes those keys.

The new key signs after five minutes, so that every replica knows it before one
uses it: copy the file to all of them in that time. With --now it signs after
three seconds, which is how long servers that share the file take to reload it.

While a key waits to sign, a second rotation is refused. With --now the waiting key
signs in three seconds, and no other is added.`,
		Example: `  authsvc keys rotate --keys keys.json
  authsvc keys rotate --keys keys.json --now`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var key *keyring.Key
			now := time.Now()
			err := keyring.Rewrite(file, func(r *keyring.Keyring) (next *keyring.Keyring, err error) {
				next, key, err = r.Rotate(now, insist)
				return next, err
			})
			if err != nil {
				return err
			}
			printSigner(c.OutOrStdout(), key, now)
			return nil
		},
	}
	keysFlag(c, env, &file, "the keyring `FILE`")
	c.Flags().BoolVar(&insist, "now", false, "do not wait five minutes for replicas to learn the key")
	return c
}

func printSigner(w io.Writer, k *keyring.Key, now time.Time) {
	fmt.Fprintf(w, "key %d signs from %s (%s)\n", k.ID, k.SignsFrom.Format(time.RFC3339), ago(k.SignsFrom, now))
}

// keyInfo is one row of the list of keys. It holds no secret.
type keyInfo struct {
	ID        byte       `json:"id"`
	State     string     `json:"state"` // a keyring.State, or dropped
	Created   *time.Time `json:"created"`
	SignsFrom *time.Time `json:"signs_from"`
	Dropped   *time.Time `json:"dropped"`
}

func keysList(env Env) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "list --keys FILE",
		Short: "List the keys, never their secrets",
		Long: `Lists the keys of a keyring, oldest first:

  signing    signs new tokens
  waiting    will sign; known already, so that its first token is valid everywhere
  verifying  verifies the tokens it signed
  prunable   all its tokens have expired; authsvc keys prune removes it
  dropped    removed on purpose; its tokens are refused`,
		Example: `  authsvc keys list --keys keys.json
  authsvc keys list --keys keys.json -o json`,
		Args: cobra.NoArgs,
	}
	keysFlag(c, env, &file, "the keyring `FILE`")
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		ring, err := keyring.Read(file)
		if err != nil {
			return err
		}
		now := time.Now()
		var list []keyInfo
		for _, k := range ring.Keys() {
			list = append(list, keyInfo{ID: k.ID, State: string(ring.State(k, now)), Created: &k.Created, SignsFrom: &k.SignsFrom})
		}
		for _, id := range ring.Dropped() {
			at, _ := ring.DroppedAt(id)
			list = append(list, keyInfo{ID: id, State: "dropped", Dropped: &at})
		}
		return out.print(c, list, func(w io.Writer) {
			fmt.Fprintln(w, "ID\tSTATE\tCREATED\tSIGNS FROM\tAGE")
			for _, k := range list {
				if k.Dropped != nil {
					fmt.Fprintf(w, "%d\t%s\t-\t-\tdropped %s\n", k.ID, k.State, ago(*k.Dropped, now))
					continue
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", k.ID, k.State, k.Created.Format(time.RFC3339), k.SignsFrom.Format(time.RFC3339), roughly(max(0, now.Sub(*k.Created))))
			}
		})
	}
	return c
}

func keysDrop(env Env) *cobra.Command {
	var file string
	var replace bool
	c := &cobra.Command{
		Use:   "drop KID --keys FILE",
		Short: "Drop a leaked key, and end every token it signed, at once",
		Long: `Removes a key from the keyring. Every token that it signed is refused as soon as a
server has reloaded the file, in about two seconds where the file is shared. The
tokens of other keys stay valid. The id stays in the file as dropped for a day, so
that servers know that the key is missing on purpose.

If the signing key is dropped, the newest other key whose time has come signs. If
only a waiting key is left, it signs at once, before its time. The only key can't
be dropped; with --replace a new one takes its place and signs at once. In both
cases, a server that does not know the new key yet refuses its tokens. If the leak
allows it, rotate first, wait until the new key signs, and then drop the old one.`,
		Example: `  authsvc keys drop 2 --keys keys.json
  authsvc keys drop 1 --keys keys.json --replace`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name the id of the key to drop, as in: authsvc keys drop 2 --keys keys.json; authsvc keys list shows the ids")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 8)
			if err != nil {
				return errors.New("a key id is a number from 0 to 255; authsvc keys list shows them")
			}
			var added *keyring.Key
			now := time.Now()
			err = keyring.Rewrite(file, func(r *keyring.Keyring) (next *keyring.Keyring, err error) {
				next, added, err = r.Drop(byte(id), now, replace)
				return next, err
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "dropped key %d; servers refuse its tokens once they have reloaded the file\n", id)
			if added != nil {
				printSigner(c.OutOrStdout(), added, now)
			}
			return nil
		},
	}
	keysFlag(c, env, &file, "the keyring `FILE`")
	c.Flags().BoolVar(&replace, "replace", false, "replace the dropped key with a new one")
	return c
}

func keysPrune(env Env) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "prune --keys FILE",
		Short: "Remove keys whose tokens have all expired",
		Long: `Removes the keys that stopped signing longer ago than any token lives (20 hours,
and one more for clocks that differ), and forgets dropped keys after the same
time. It never ends a token.`,
		Example: "  authsvc keys prune --keys keys.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var pruned, forgotten []byte
			err := keyring.Rewrite(file, func(r *keyring.Keyring) (next *keyring.Keyring, _ error) {
				next, pruned, forgotten = r.Prune(time.Now())
				if len(pruned)+len(forgotten) == 0 {
					return r, nil
				}
				return next, nil
			})
			if err != nil {
				return err
			}
			for _, id := range pruned {
				fmt.Fprintf(c.OutOrStdout(), "removed key %d\n", id)
			}
			for _, id := range forgotten {
				fmt.Fprintf(c.OutOrStdout(), "forgot dropped key %d\n", id)
			}
			if len(pruned)+len(forgotten) == 0 {
				fmt.Fprintln(c.OutOrStdout(), "nothing to remove")
			}
			return nil
		},
	}
	keysFlag(c, env, &file, "the keyring `FILE`")
	return c
}

// keysFlag gives a command the flag --keys. AUTHSVC_KEYS can replace it, as for serve.
func keysFlag(c *cobra.Command, env Env, file *string, usage string) {
	fileFlag(c, env, "keys", file, usage)
}

// fileFlag gives a command a flag that names a file and is also a setting of serve; its
// default is the variable of that setting.
func fileFlag(c *cobra.Command, env Env, name string, file *string, usage string) {
	variable := "AUTHSVC_" + strings.ToUpper(name)
	c.Flags().StringVar(file, name, env.value(variable), usage+" (or set "+variable+")")
	if *file != "" {
		return
	}
	if err := c.MarkFlagRequired(name); err != nil {
		panic(err) // the flag was defined a few lines above
	}
}
