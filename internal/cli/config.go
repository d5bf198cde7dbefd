package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"authsvc/internal/config"
	"authsvc/internal/process"
)

// configCommand returns authsvc config.
func configCommand(env Env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Check and show the settings of serve",
		Example: `  authsvc config check --config authsvc.yaml
  AUTHSVC_ACCESS_TTL=10m authsvc config show --config authsvc.yaml`,
	}, configCheck(env), configShow(env))
}

// loaded loads the settings as serve does, and returns what it would report.
func loaded(s *config.Settings, env Env) (checked, error) {
	cfg, warnings, err := s.Load(env.Vars)
	wrong := (*config.Error)(nil)
	if err != nil && !errors.As(err, &wrong) {
		return checked{}, err
	}
	if wrong == nil {
		st, err := process.OpenStore(cfg) // connects to nothing, but reads the URL and the certificates
		if err != nil {
			return newChecked([]string{err.Error()}, warnings), nil
		}
		return newChecked(nil, warnings), st.Close()
	}
	return newChecked(wrong.Faults, warnings), nil
}

func (r checked) settingsError() error {
	if r.OK {
		return nil
	}
	return fmt.Errorf("%s in the settings", count(len(r.Faults), "fault"))
}

func configCheck(env Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "Report everything that is wrong with the settings",
		Long: `Takes the flags, the environment and the file that authsvc serve takes, and prints
every fault and every warning. The exit status is 0 where serve would take them.
The apps file is checked by: authsvc app check`,
		Example: `  authsvc config check --config authsvc.yaml
  AUTHSVC_ACCESS_TTL=10m authsvc config check --config authsvc.yaml -o json`,
		Args: cobra.NoArgs,
	}
	settings := config.Register(c.Flags())
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		report, err := loaded(settings, env)
		if err != nil {
			return err
		}
		if err := out.print(c, report, func(w io.Writer) {
			report.write(w)
			if report.OK {
				fmt.Fprintln(w, "the settings have no faults")
			}
		}); err != nil {
			return err
		}
		return report.settingsError()
	}
	return c
}

// settingInfo is one row of the list of settings.
type settingInfo struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // default, file, env or flag
	Source string `json:"source"` // what the user wrote it as; empty for a default
}

func configShow(env Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "show",
		Short: "Show every setting and its origin",
		Long: `Takes the flags, the environment and the file that authsvc serve takes, and prints
the value of every setting and its origin: a flag overrides the environment, the
environment the file, and the file the default. Secrets are not shown. Faults are
reported as well, and make the exit status 1.`,
		Example: `  authsvc config show --config authsvc.yaml
  authsvc config show --config authsvc.yaml -o json | jq '.settings[] | select(.origin != "default")'`,
		Args: cobra.NoArgs,
	}
	settings := config.Register(c.Flags())
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		report, err := loaded(settings, env)
		if err != nil {
			return err
		}
		list := []settingInfo{}
		for _, s := range settings.All() {
			list = append(list, settingInfo{Name: s.Name, Value: s.Value, Origin: s.Origin.String(), Source: s.Source})
		}
		all := struct {
			Settings []settingInfo `json:"settings"`
			checked
		}{list, report}
		if err := out.print(c, all, func(w io.Writer) {
			fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
			for _, s := range list {
				from := s.Source
				if from == "" {
					from = s.Origin
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.Value, from)
			}
			report.write(w)
		}); err != nil {
			return err
		}
		return report.settingsError()
	}
	return c
}
