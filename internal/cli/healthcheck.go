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

// healthcheckCommand returns authsvc healthcheck: an image without a shell has no curl.
func healthcheckCommand(env Env) *cobra.Command {
	var target string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Check whether a running server is ready",
		Long: `Queries the admin listener of a running server, and prints the answer in one line.
The exit status is 0 only if the server is ready: this is the health check of a
container that has no shell. In a Dockerfile:
HEALTHCHECK CMD ["authsvc", "healthcheck"]

Without --url it queries /readyz at the address in AUTHSVC_ADMIN_LISTEN, or in
admin_listen of the file that AUTHSVC_CONFIG names, on this machine.`,
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
	c.Flags().StringVar(&target, "url", "", "`URL` to query (default: /readyz of the admin listener)")
	c.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "longest wait for the answer")
	return c
}

// readyURL returns the URL of the readiness probe of the server on this machine. The
// settings need not be complete: a health check is given fewer of them than serve.
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

// probe sends a GET request, and returns the first line of an answer with status 200.
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
	const trust = "in the environment variable SSL_CERT_FILE"
	// No proxy: the server is on this machine.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return "", tokenclient.Unreachable(err, timeout, trust)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return "", tokenclient.Unreachable(err, timeout, trust)
	}
	said, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	said = printable(said)
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", statusText(res.StatusCode), said)
	}
	return said, nil
}
