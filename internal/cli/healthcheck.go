package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"authsvc/internal/config"
	"authsvc/internal/tokenclient"
)

// healthcheckCommand is authsvc healthcheck: an image without a shell has no curl.
func healthcheckCommand(env Env) *cobra.Command {
	var target string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running server whether it is ready",
		Long: `Asks the admin listener of a running server whether it can do its work, and prints
the answer in one line. The exit status is 0 only where it says so: this is the
health check of a container that has no shell. In a Dockerfile:
HEALTHCHECK CMD ["authsvc", "healthcheck"]

Without --url it asks /readyz at the address of AUTHSVC_ADMIN_LISTEN, or of
admin_listen in the file of AUTHSVC_CONFIG, on this machine.`,
		Example: `  authsvc healthcheck
  authsvc healthcheck --url http://127.0.0.1:8081/livez`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if target == "" {
				target = readyURL(env)
			}
			said, err := probe(target, timeout)
			if err != nil {
				return fmt.Errorf("%s: %w", target, err)
			}
			fmt.Fprintln(c.OutOrStdout(), said)
			return nil
		},
	}
	c.Flags().StringVar(&target, "url", "", "`URL` to ask (default: /readyz of the admin listener)")
	c.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "longest wait for the answer")
	return c
}

// readyURL is where the server of this machine tells whether it is ready. The
// settings need not be complete: a health check is given less of them than serve.
func readyURL(env Env) string {
	s := config.Register(pflag.NewFlagSet("", pflag.ContinueOnError))
	_, _, _ = s.Load(env.Vars)
	for _, setting := range s.All() {
		if setting.Name == "admin-listen" {
			return config.DefaultIssuer(setting.Value, false) + "/readyz"
		}
	}
	return ""
}

// probe asks for a URL, and returns the first line of an answer that is 200.
func probe(target string, timeout time.Duration) (string, error) {
	if u, err := url.Parse(target); err != nil || u.Host == "" {
		return "", errors.New("not a URL such as http://127.0.0.1:8081/readyz")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return "", err
	}
	// No proxy: it is this machine that is asked.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return "", tokenclient.Unreachable(err, timeout)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return "", tokenclient.Unreachable(err, timeout)
	}
	said, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	said = printable(said)
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", statusText(res.StatusCode), said)
	}
	return said, nil
}
