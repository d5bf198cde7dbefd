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

// setupCommand returns authsvc setup.
func setupCommand() *cobra.Command {
	var at installation
	c := &cobra.Command{
		Use:   "setup --dir DIR [--redis-dir DIR]",
		Short: "Create what a new installation lacks",
		Long: `Creates the files of a new installation in a directory: the keyring keys.json, and
apps.yaml with two apps, one that gets tokens and one that introspects them. Each
has a secret of its own, which authsvc setup show prints once.

With --redis-dir it also creates a password for Redis: for authsvc in the file
password, and for Redis in auth.conf, which redis.conf can include. Owner and group
may read these two files; the others are for the owner only.

Existing files are left alone, so that it can run at each start. If only one of
keyring and apps file exists, the other is not created: it was lost, and must come
from a backup.`,
		Example: "  authsvc setup --dir /etc/authsvc --redis-dir /etc/authsvc-redis\n  authsvc setup show --dir /etc/authsvc",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			created, err := at.create(time.Now())
			for _, path := range created {
				fmt.Fprintln(c.OutOrStdout(), "created", path)
			}
			if err == nil && len(created) == 0 {
				fmt.Fprintln(c.OutOrStdout(), "nothing is missing")
			}
			return err
		},
	}
	dirFlag(c, &at.dir)
	c.Flags().StringVar(&at.redisDir, "redis-dir", "", "existing `DIR` for the password of Redis")
	c.Flags().BoolVar(&at.newPassword, "new-redis-password", false, "replace the password for Redis; both sides read it when they start")
	c.AddCommand(setupShow())
	return c
}

func setupShow() *cobra.Command {
	var at installation
	c := &cobra.Command{
		Use:   "show --dir DIR",
		Short: "Show the secrets of the first apps, once",
		Long: `Prints the first apps that authsvc setup created and their secrets, as KEY:SECRET,
and removes the file that held them: from then on there are only hashes. A lost
secret can't be recovered, only replaced.`,
		Example: "  authsvc setup show --dir /etc/authsvc",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := os.ReadFile(at.secrets())
			if errors.Is(err, fs.ErrNotExist) {
				return errors.New("the secrets were shown already, or there are none. Only their hashes are kept; authsvc app add adds another app")
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
	c.Flags().StringVar(dir, "dir", "", "existing `DIR` of keyring and apps file")
	if err := c.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag was defined a line above
	}
}

// installation holds the paths of an installation.
type installation struct {
	dir, redisDir string
	newPassword   bool // replaces the one in redisDir
}

func (at installation) keys() string    { return filepath.Join(at.dir, "keys.json") }
func (at installation) apps() string    { return filepath.Join(at.dir, "apps.yaml") }
func (at installation) secrets() string { return filepath.Join(at.dir, "first-secrets") }

// create creates what is missing, in an order that allows it to be interrupted anywhere
// and run again; two at the same time end with the same files. It returns the paths of
// what it created.
func (at installation) create(now time.Time) (created []string, err error) {
	file := func(path string, data []byte, mode fs.FileMode) error {
		err := wholefile.Create(path, data, mode)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		if err == nil {
			created = append(created, path)
		}
		return err
	}

	hasKeys, err := exists(at.keys())
	if err != nil {
		return created, err
	}
	hasApps, err := exists(at.apps())
	if err != nil {
		return created, err
	}
	hasSecrets, err := exists(at.secrets())
	if err != nil {
		return created, err
	}
	switch {
	case !hasKeys && hasApps:
		return created, fmt.Errorf("%s exists and %s does not: restore it from a backup, since the secrets of the apps are hashed with it, or remove the apps file as well to start over", at.apps(), at.keys())
	case hasKeys && !hasApps && !hasSecrets: // the keyring is created after the secrets
		return created, fmt.Errorf("%s exists and %s does not: restore it from a backup, since with another one revoked tokens would be valid again, or remove the keyring as well to start over", at.keys(), at.apps())
	case !hasApps:
		// Without this file nobody would ever know them.
		secrets := firstApp + ":" + app.GenerateSecret() + "\n" + firstGateway + ":" + app.GenerateSecret() + "\n"
		if err := file(at.secrets(), []byte(secrets), 0o600); err != nil {
			return created, err
		}
		if err := file(at.keys(), keyring.New(now).Marshal(), 0o600); err != nil {
			return created, err
		}
		text, err := at.firstApps()
		if err != nil {
			return created, err
		}
		if err := file(at.apps(), text, 0o600); err != nil {
			return created, err
		}
	}

	if at.redisDir == "" {
		return created, nil
	}
	password, authConf := filepath.Join(at.redisDir, "password"), filepath.Join(at.redisDir, "auth.conf")
	if at.newPassword {
		if err := os.Remove(password); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return created, err
		}
	}
	if err := file(password, []byte(app.GenerateSecret()+"\n"), 0o640); err != nil {
		return created, err
	}
	text, err := os.ReadFile(password)
	if err != nil {
		return created, err
	}
	text = bytes.TrimSpace(text)
	conf := fmt.Appendf(nil, "requirepass %s\nmasterauth %s\n", text, text)
	if err := file(authConf, conf, 0o640); err != nil {
		return created, err
	}
	// One with another password is corrected, however it got there.
	err = wholefile.Rewrite(authConf, func(was []byte) ([]byte, error) {
		if !bytes.Equal(was, conf) {
			created = append(created, authConf)
		}
		return conf, nil
	})
	return created, err
}

// firstApps returns the apps file of the first apps, with the secrets that were kept.
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
			return nil, fmt.Errorf("%s is not what authsvc setup wrote; remove it", at.secrets())
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
