package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apierr "authsvc/internal/errors"
	"authsvc/internal/tokenclient"
)

// tokenCommand returns authsvc token.
func tokenCommand(env Env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "token",
		Short: "Get a token from a server, and decode one",
		Example: `  authsvc token get --url https://auth.example.com --key billing-worker --secret-file secret.txt
  authsvc token decode < token.txt`,
	}, tokenGet(env), tokenDecode())
}

func tokenGet(env Env) *cobra.Command {
	var r tokenclient.Request
	var address, caFile, refreshFile string
	var post, quiet bool
	c := &cobra.Command{
		Use:   "get --url URL --key KEY",
		Short: "Get a token, and show the exchange",
		Long: `Requests a token from a server, as an app does, and prints it. The exchange is
shown on standard error, with the secret and the tokens masked. If it fails, the
cause and what to do are shown, and the exit status is 1.

The secret is the first line of standard input, or of --secret-file. --url is the
server's own address, or that of a token endpoint. Redirects are not followed: the
secret would go with them.`,
		Example: `  authsvc token get --url https://auth.example.com --key billing-worker --secret-file secret.txt
  authsvc token get --url http://127.0.0.1:8080 --key billing-worker --scope orders.read -o json < secret.txt
  authsvc token get --url http://127.0.0.1:8080/v1/apigw/oauth2/token --key billing-worker \
    --secret-file secret.txt --refresh-token-file refresh.txt`,
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVar(&address, "url", "", "`URL` of the server, or of its token endpoint")
	f.StringVar(&r.Key, "key", "", "AppKey `KEY`, which is the client_id")
	in := secretFlag(c)
	f.StringVar(&r.Scope, "scope", "", "`SCOPES` to request, separated by spaces (default: all of the app's)")
	f.StringVar(&r.ThroughData, "through-data", "", "`TEXT` that the gateway passes to the API")
	f.StringVar(&refreshFile, "refresh-token-file", "", "`FILE` whose first line is the refresh token to use")
	f.BoolVar(&r.Basic, "basic", false, "send key and secret with HTTP Basic")
	f.BoolVar(&post, "post", false, "send key and secret in the form (the default)")
	f.StringVar(&caFile, "ca", "", "PEM `FILE` of an authority to trust in addition to the system's")
	f.DurationVar(&r.Timeout, "timeout", 10*time.Second, "longest wait for the answer")
	f.BoolVarP(&quiet, "quiet", "q", false, "do not show the exchange")
	c.MarkFlagsMutuallyExclusive("basic", "post")
	for _, name := range []string{"url", "key"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // both were defined above
		}
	}
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if refreshFile != "" {
			if r.RefreshToken, err = readTokenFile(refreshFile); err != nil {
				return err
			}
		}
		if r.Secret, err = in.read(c); err != nil {
			return err
		}
		if r.Endpoint, err = tokenclient.ParseEndpoint(address); err != nil {
			return fmt.Errorf("--url %w", err)
		}
		if caFile != "" {
			if r.Roots, err = tokenclient.RootsWith(caFile); err != nil {
				return fmt.Errorf("--ca: %w", err)
			}
		}
		if !quiet && !out.json() {
			r.Transcript = func(line string) { fmt.Fprintln(c.ErrOrStderr(), printable(line)) }
		}
		answer, err := r.Do()
		if err != nil {
			return err
		}
		l, err := language("", env)
		if err != nil {
			return err
		}
		granted, err := readGranted(answer, l)
		if err != nil {
			return errors.New(r.Mask(err.Error()))
		}
		return out.print(c, json.RawMessage(answer.Body), granted.write)
	}
	return c
}

func readTokenFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--refresh-token-file: %w", err)
	}
	defer f.Close()
	token, err := firstLine(f)
	if err == nil && token == "" {
		err = errors.New("its first line is empty")
	}
	if err != nil {
		return "", fmt.Errorf("--refresh-token-file: %s: %w", path, err)
	}
	return token, nil
}

// granted is a token answer (RFC 6749 section 5.1).
type granted struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	Scope        string `json:"scope"`
	RefreshToken string `json:"refresh_token"`
}

func (g granted) write(w io.Writer) {
	for _, m := range [][2]string{
		{"access_token", g.AccessToken},
		{"token_type", g.TokenType},
		{"expires_in", fmt.Sprint(g.ExpiresIn)},
		{"scope", g.Scope},
		{"refresh_token", g.RefreshToken},
	} {
		if m[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", m[0], printable(m[1]))
		}
	}
}

// readGranted reads a token answer, or explains why there is no token in it.
func readGranted(answer tokenclient.Answer, l apierr.Lang) (granted, error) {
	var g granted
	status, header, body := answer.Status, answer.Header, answer.Body
	if status == http.StatusOK {
		err := json.Unmarshal(body, &g)
		if odd := (*json.UnmarshalTypeError)(nil); errors.As(err, &odd) && g.AccessToken != "" {
			return g, fmt.Errorf("the answer is 200 and has an access_token, but the type of its %s is not that of RFC 6749 section 5.1: %s", odd.Field, odd.Value)
		}
		if err != nil || g.AccessToken == "" {
			return g, errors.New("the answer is 200, but has no access_token: --url is not that of a token endpoint")
		}
		return g, nil
	}
	if to := header.Get("Location"); status/100 == 3 && to != "" {
		return g, fmt.Errorf("the server redirects to %s: give that as --url, if you trust it with the secret", printable(to))
	}
	var m map[string]any
	_ = json.Unmarshal(body, &m) // a body that is not JSON has no error_code
	a := answerOf(m)
	a.status = status
	r, ok := a.row()
	switch {
	case ok:
	case strings.Contains(string(body), "HTTP request to an HTTPS server"):
		return g, errors.New("the server speaks TLS there: use https:// in --url")
	default:
		return g, fmt.Errorf("%s, and not from authsvc (the answer has no error_code): something in front of it answered, or --url is that of another server", statusText(status))
	}
	var b strings.Builder
	b.WriteString("no token was issued\n\n")
	explain(r, l).write(&b, l)
	a.write(&b, l)
	if after := header.Get("Retry-After"); after != "" {
		fmt.Fprintf(&b, "  Retry-After: %s\n", printable(after))
	}
	return g, errors.New(strings.TrimRight(b.String(), "\n"))
}
