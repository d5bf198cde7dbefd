package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"authsvc/internal/app"
	"authsvc/internal/app/appsfile"
	"authsvc/internal/keyring"
	"authsvc/internal/wholefile"
)

// The first apps of a new installation: one that gets tokens, and one that
// introspects them.
const (
	firstApp     = "first-app"
	firstGateway = "first-gateway"
	firstScope   = "demo.read"
)

// setupCommand is authsvc setup.
func setupCommand() *cobra.Command {
	var at installation
	c := &cobra.Command{
		Use:   "setup --dir DIR [--redis-dir DIR]",
		Short: "Make what a new installation needs, where it is missing",
		Long: `Makes the files of a new installation in a directory: the keyring keys.json, and
apps.yaml with two apps, one that gets tokens and one that introspects them. Each
has a secret of its own, which authsvc setup show prints once.

With --redis-dir it also makes a password for Redis, for authsvc in the file
password, and for Redis in auth.conf, which its own configuration can include.
Owner and group may read these two; the rest is for the owner only.

What is there is left alone, so that it can run at each start. Of keyring and apps
file none is made where only the other is there: it was lost, and has to come from
a backup.`,
		Example: "  authsvc setup --dir /etc/authsvc --redis-dir /etc/authsvc-redis\n  authsvc setup show --dir /etc/authsvc",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			made, err := at.make(time.Now())
			for _, path := range made {
				fmt.Fprintln(c.OutOrStdout(), "made", path)
			}
			if err == nil && len(made) == 0 {
				fmt.Fprintln(c.OutOrStdout(), "all is there")
			}
			return err
		},
	}
	dirFlag(c, &at.dir)
	c.Flags().StringVar(&at.redisDir, "redis-dir", "", "`DIR` for the password of Redis; it must exist")
	c.Flags().BoolVar(&at.newPassword, "new-redis-password", false, "make a new password for Redis; both sides read it when they start")
	c.AddCommand(setupShow())
	return c
}

func setupShow() *cobra.Command {
	var at installation
	c := &cobra.Command{
		Use:   "show --dir DIR",
		Short: "Show the secrets of the first apps, once",
		Long: `Prints the first apps that authsvc setup made and their secrets, as KEY:SECRET, and
removes the file that held them: from then on there are only hashes. A secret that
is lost can't be found again, but replaced.`,
		Example: "  authsvc setup show --dir /etc/authsvc",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := os.ReadFile(at.secrets())
			if errors.Is(err, fs.ErrNotExist) {
				return errors.New("they were shown already, or there are none. What is kept of a secret is its hash; authsvc app add makes another app")
			}
			if err != nil {
				return err
			}
			if _, err := c.OutOrStdout().Write(text); err != nil {
				return err
			}
			return os.Remove(at.secrets())
		},
	}
	dirFlag(c, &at.dir)
	return c
}

func dirFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "dir", "", "`DIR` of keyring and apps file; it must exist")
	if err := c.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag was defined a line above
	}
}

// installation is where the files of an installation are.
type installation struct {
	dir, redisDir string
	newPassword   bool // in the place of the one in redisDir
}

func (at installation) keys() string    { return filepath.Join(at.dir, "keys.json") }
func (at installation) apps() string    { return filepath.Join(at.dir, "apps.yaml") }
func (at installation) secrets() string { return filepath.Join(at.dir, "first-secrets") }

// make makes what is missing, in an order in which it can be interrupted anywhere and
// run again; two at the same time end with the same files. It returns the paths of
// what it made.
func (at installation) make(now time.Time) (made []string, err error) {
	create := func(path string, data []byte, mode fs.FileMode) error {
		err := wholefile.Create(path, data, mode)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		if err == nil {
			made = append(made, path)
		}
		return err
	}

	hasKeys, err := exists(at.keys())
	if err != nil {
		return made, err
	}
	hasApps, err := exists(at.apps())
	if err != nil {
		return made, err
	}
	hasSecrets, err := exists(at.secrets())
	if err != nil {
		return made, err
	}
	switch {
	case !hasKeys && hasApps:
		return made, fmt.Errorf("%s is there and %s is not: bring it back from a backup, since the secrets of the apps are hashed under it, or take the apps file away as well to begin anew", at.apps(), at.keys())
	case hasKeys && !hasApps && !hasSecrets: // the keyring is made after the secrets
		return made, fmt.Errorf("%s is there and %s is not: bring it back from a backup, since another one would let tokens live again that were revoked, or take the keyring away as well to begin anew", at.keys(), at.apps())
	case !hasApps:
		// Without the file nobody would ever know them.
		secrets := firstApp + ":" + app.GenerateSecret() + "\n" + firstGateway + ":" + app.GenerateSecret() + "\n"
		if err := create(at.secrets(), []byte(secrets), 0o600); err != nil {
			return made, err
		}
		if err := create(at.keys(), keyring.New(now).Marshal(), 0o600); err != nil {
			return made, err
		}
		text, err := at.firstApps()
		if err != nil {
			return made, err
		}
		if err := create(at.apps(), text, 0o600); err != nil {
			return made, err
		}
	}

	if at.redisDir == "" {
		return made, nil
	}
	password, authConf := filepath.Join(at.redisDir, "password"), filepath.Join(at.redisDir, "auth.conf")
	if at.newPassword {
		if err := os.Remove(password); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return made, err
		}
	}
	if err := create(password, []byte(app.GenerateSecret()+"\n"), 0o640); err != nil {
		return made, err
	}
	text, err := os.ReadFile(password)
	if err != nil {
		return made, err
	}
	text = bytes.TrimSpace(text)
	conf := fmt.Appendf(nil, "requirepass %s\nmasterauth %s\n", text, text)
	if err := create(authConf, conf, 0o640); err != nil {
		return made, err
	}
	// One of another password is mended, however it came there.
	err = wholefile.Rewrite(authConf, func(was []byte) ([]byte, error) {
		if !bytes.Equal(was, conf) {
			made = append(made, authConf)
		}
		return conf, nil
	})
	return made, err
}

// firstApps is the apps file of the first apps, with the secrets that were kept.
func (at installation) firstApps() ([]byte, error) {
	ring, err := keyring.Read(at.keys())
	if err != nil {
		return nil, err
	}
	secrets, err := os.ReadFile(at.secrets())
	if err != nil {
		return nil, err
	}
	pepper := ring.Pepper()
	apps := []app.App{
		{Key: firstApp, Scopes: []string{firstScope}},
		{Key: firstGateway, Roles: []string{app.RoleIntrospect}},
	}
	lines := strings.Split(strings.TrimSpace(string(secrets)), "\n")
	for i := range apps {
		key, secret, _ := strings.Cut(lines[min(i, len(lines)-1)], ":")
		if key != apps[i].Key || !app.ValidSecret(secret) {
			return nil, fmt.Errorf("%s is not what authsvc setup wrote; take it away", at.secrets())
		}
		apps[i].Secrets = []app.Secret{{Hash: pepper.Hash(secret)}}
	}
	return appsfile.Format(apps...), nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
