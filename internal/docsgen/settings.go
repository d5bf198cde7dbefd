package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"authsvc/internal/config"
)

const settingsText = `# Settings of authsvc serve

Each setting is a flag, an environment variable, and a key of the YAML file given
with ` + "`--config`" + `. A flag overrides the environment, the environment overrides the
file, and the file overrides the default. An empty variable counts as not set.
Unknown flags and keys are faults, an unknown ` + "`AUTHSVC_`" + ` variable is a warning, and
all faults are reported at once. ` + "`authsvc config check` lists them without starting\nanything, and `authsvc config show`" + ` says where each value comes from.

A duration has a unit: ` + "`300ms`, `90s`, `1h30m`" + `. A list is separated by commas in a flag
or variable, and is a list in YAML.

`

const settingsRules = `
## Between settings

- ` + "`--store`, `--apps` and `--keys`" + ` are required. With ` + "`--dev`" + ` they are refused.
- ` + "`--store-ca`, `--store-cert` and `--store-key`" + ` are only for a store with TLS.
- ` + "`--store-sentinel-user` and `--store-sentinel-password`" + ` are only for a ` + "`redis+sentinel://`" + ` store.
- A password is either in the URL of the store or in ` + "`--store-password`" + `, not in both.
- ` + "`--store-cert` requires `--store-key` and the reverse; likewise `--tls-cert` and `--tls-key`" + `.
- ` + "`--listen` and `--admin-listen`" + ` must differ.
- ` + "`--trace-sample` is only for `--trace-endpoint`" + `.
- A ` + "`--refresh-ttl` shorter than `--refresh-grace`" + ` is a warning.

Lifetimes can also be set for a single app, in [the apps file](apps-file.md).
`

func settingsPage() (string, error) {
	var b strings.Builder
	b.WriteString(header + settingsText)
	head(&b, "flag", "environment", "YAML key", "default", "value", "what it is")
	var secrets, failed []string
	flags, _, _ := load(nil, nil)
	flags.SortFlags = false
	flags.VisitAll(func(f *pflag.Flag) {
		s, err := find(f)
		if err != nil {
			failed = append(failed, err.Error())
			return
		}
		if s.secret {
			secrets = append(secrets, fmt.Sprintf(
				"%s is a secret. It is never shown, and can be read from a file named by %s.", code(s.env), code(s.env+"_FILE")))
		}
		placeholder, usage := pflag.UnquoteUsage(f)
		flag := "--" + f.Name
		if f.Value.Type() != "bool" {
			flag += " " + placeholder
		}
		row(&b, code(flag), code(s.env), code(s.key), code(f.DefValue), escape(s.bounds), escape(usage))
	})
	if len(failed) > 0 {
		return "", errors.New(strings.Join(failed, "\n"))
	}
	for _, s := range secrets {
		b.WriteString("\n" + s + "\n")
	}
	b.WriteString(settingsRules)
	return b.String(), nil
}

// found holds the names of a setting, and the values that it accepts.
type found struct {
	env, key, bounds string
	secret           bool
}

// find tries out a setting: nothing here knows how names are formed or what a setting
// accepts, so the page can't differ from what the settings do.
func find(f *pflag.Flag) (found, error) {
	s := found{bounds: f.Value.Type()}
	name := strings.ReplaceAll(f.Name, "-", "_")

	env := "AUTHSVC_" + strings.ToUpper(name)
	_, all, _ := load(nil, []string{env + "=x"})
	set := one(all, f.Name)
	if set.Origin != config.Env {
		return s, fmt.Errorf("%s does not set --%s", env, f.Name)
	}
	s.env, s.secret = env, set.Value == "(secret)"

	file, err := inFile(name + ": x\n")
	if err != nil {
		return s, err
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(file)) }()
	if _, all, _ := load([]string{"--config", file}, nil); one(all, f.Name).Origin == config.File {
		s.key = name
	}

	// A value that is bad for every kind of setting; the fault says what is accepted.
	_, _, err = load([]string{"--" + f.Name + "=-1ns"}, nil)
	faults := (*config.Error)(nil)
	if !errors.As(err, &faults) {
		return s, fmt.Errorf("the settings accept --%s=-1ns: %w", f.Name, err)
	}
	for _, fault := range faults.Faults {
		text, ours := strings.CutPrefix(fault, "--"+f.Name+": ")
		text, each := strings.CutPrefix(text, "entry 1 ")
		text, must := strings.CutPrefix(text, "must be ")
		switch {
		case !ours || !must:
		case each:
			s.bounds = "each " + text
		default:
			s.bounds = text
		}
	}
	switch s.bounds {
	case "string":
		s.bounds = "text"
	case "duration", "float", "bool", "strings":
		return s, fmt.Errorf("--%s does not say what it accepts", f.Name)
	}
	return s, nil
}

// load reads settings, and returns the flags and all settings found, good or bad.
func load(args, environ []string) (*pflag.FlagSet, []config.Setting, error) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	settings := config.Register(flags)
	if err := flags.Parse(args); err != nil {
		return flags, nil, err
	}
	_, _, err := settings.Load(environ)
	return flags, settings.All(), err
}

func one(all []config.Setting, name string) config.Setting {
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return config.Setting{}
}

func inFile(text string) (string, error) {
	dir, err := os.MkdirTemp("", "docsgen-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "authsvc.yaml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}
