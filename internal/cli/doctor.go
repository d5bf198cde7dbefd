package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"authsvc/internal/config"
	"authsvc/internal/doctor"
	"authsvc/internal/process"
)

// doctorTimeout is the least --store-timeout that doctor itself uses, so that it can say of
// a Redis that is too far away how far that is.
const doctorTimeout = 5 * time.Second

// doctorCommand returns authsvc doctor.
func doctorCommand(env Env) *cobra.Command {
	const status = `The exit status is 0 where nothing is worse than a note, 2 where nothing is worse
than a warning, and 1 for anything else.`
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with an installation, and how to fix it",
		Long: `Takes the flags, the environment and the file that authsvc serve takes, and looks
at what they name: Redis, the keyring, the apps file, the certificates and the
trusted proxies. Each finding says what is wrong, why it matters, and the command
that fixes it:

  note     worth knowing
  warning  can cost tokens or calls, now or later
  error    makes tokens wrong, loses them silently, or keeps the service from
           working

Nothing is changed. It creates one key in Redis and deletes it, to test the
permissions. The service need not run. The settings themselves are checked by:
authsvc config check

` + status,
		Example: `  authsvc doctor --config authsvc.yaml
  authsvc doctor --config authsvc.yaml -o json | jq -r '.[] | .severity + " " + .check'`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{exitStatus: status},
	}
	settings := config.Register(c.Flags())
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, _, err := settings.Load(env.Vars)
		if err != nil {
			return err
		}
		found, err := check(cfg, time.Now())
		if err != nil {
			return err
		}
		if err := out.print(c, found, func(w io.Writer) { writeFindings(w, found) }); err != nil {
			return err
		}
		return verdict(found)
	}
	return c
}

// check checks everything that the settings name. It returns an error only if serve would
// not accept the store.
func check(cfg config.Config, now time.Time) ([]doctor.Finding, error) {
	patient := cfg
	patient.StoreTimeout = max(cfg.StoreTimeout, doctorTimeout)
	st, err := process.OpenStore(patient)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	found := []doctor.Finding{} // so that the JSON has [] and not null
	if r, ok := st.(doctor.RedisStore); ok {
		found = append(found, checkRedis(cfg, r, doctor.CheckTimeout(patient.StoreTimeout))...)
	}
	if !cfg.Dev {
		found = append(found, doctor.Keyring(cfg.Keys, now)...)
		found = append(found, doctor.Apps(cfg.Apps, cfg.RefreshGrace)...)
	}
	for _, pair := range [][2]string{{cfg.TLSCert, cfg.TLSKey}, {cfg.Store.CertFile, cfg.Store.KeyFile}} {
		if pair[0] != "" {
			found = append(found, doctor.TLS(pair[0], pair[1], now)...)
		}
	}
	found = append(found, doctor.Proxies(cfg.Listen, cfg.TrustedProxies)...)
	found = append(found, doctor.Writable(cfg.Files...)...)
	found = append(found, doctor.Listeners(cfg.Listen, cfg.AdminListen, cfg.TLSCert != "", doctor.LocalAddresses())...)
	slices.SortStableFunc(found, func(a, b doctor.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return found, nil
}

func checkRedis(cfg config.Config, r doctor.RedisStore, patience time.Duration) []doctor.Finding {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found, err := doctor.CheckRedis(ctx, r, process.RedisOptions(cfg))
	if err != nil {
		found = append(found, doctor.Unavailable(cfg.Store.String(), err))
	}
	return found
}

// writeFindings writes a paragraph for each.
func writeFindings(w io.Writer, found []doctor.Finding) {
	for _, f := range found {
		fmt.Fprintf(w, "%s\n\n", printableLines(f.String()))
	}
	if verdict(found) == nil {
		fmt.Fprintln(w, tally(found))
	}
}

// verdict returns nil if no finding is worse than a note, else an error with the exit
// status.
func verdict(found []doctor.Finding) error {
	switch doctor.Worst(found) {
	case doctor.Error:
		return errors.New(tally(found))
	case doctor.Warning:
		return statusError{errors.New(tally(found)), 2}
	}
	return nil
}

// tally returns the numbers of findings, as in "1 error, 2 warnings, 1 note".
func tally(found []doctor.Finding) string {
	var parts []string
	for _, s := range []doctor.Severity{doctor.Error, doctor.Warning, doctor.Note} {
		n := 0
		for _, f := range found {
			if f.Severity == s {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, count(n, s.String()))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "nothing is wrong")
}
