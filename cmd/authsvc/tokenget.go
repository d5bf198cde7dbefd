package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apierr "authsvc/internal/errors"
)

// tokenCommand is authsvc token.
func tokenCommand(p process) *cobra.Command {
	return group(&cobra.Command{
		Use:   "token",
		Short: "Get a token from a server, and read what is in one",
		Example: `  authsvc token get --url https://auth.example.com --key billing-worker --secret-file secret.txt
  authsvc token decode < token.txt`,
	}, tokenGet(p), tokenDecode())
}

// tokenRequest is what a token request is made of.
type tokenRequest struct {
	url, key, scope, throughData string
	secret, refreshToken         string
	basic                        bool
	caFile                       string
	timeout                      time.Duration
}

func tokenGet(p process) *cobra.Command {
	var r tokenRequest
	var refreshFile string
	var post, quiet bool
	c := &cobra.Command{
		Use:   "get --url URL --key KEY",
		Short: "Get a token, and show the exchange",
		Long: `Asks a server for a token, as an app does, and prints it. What was sent and what
came back is shown on standard error, with the secret and the tokens masked. Where
it fails, the cause and what to do are shown, and the exit status is 1.

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
	f.StringVar(&r.url, "url", "", "`URL` of the server, or of its token endpoint")
	f.StringVar(&r.key, "key", "", "AppKey `KEY`, which is the client_id")
	in := secretFlag(c)
	f.StringVar(&r.scope, "scope", "", "`SCOPES` to ask for, with spaces between (default: all of the app's)")
	f.StringVar(&r.throughData, "through-data", "", "`TEXT` that the gateway hands on to the API")
	f.StringVar(&refreshFile, "refresh-token-file", "", "`FILE` whose first line is a refresh token, to be refreshed")
	f.BoolVar(&r.basic, "basic", false, "send key and secret with HTTP Basic")
	f.BoolVar(&post, "post", false, "send key and secret in the form (the default)")
	f.StringVar(&r.caFile, "ca", "", "PEM `FILE` of an authority to trust besides the system's")
	f.DurationVar(&r.timeout, "timeout", 10*time.Second, "longest wait for the answer")
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
			if r.refreshToken, err = readTokenFile(refreshFile); err != nil {
				return err
			}
		}
		if r.secret, err = in.read(c); err != nil {
			return err
		}
		tr := trace{w: c.ErrOrStderr()}
		if quiet || out.json() {
			tr.w = io.Discard
		}
		status, header, body, err := r.do(&tr)
		if err != nil {
			return errors.New(tr.mask(err.Error()))
		}
		l, err := language("", p)
		if err != nil {
			return err
		}
		granted, err := readGranted(status, header, body, l)
		if err != nil {
			return errors.New(tr.mask(err.Error()))
		}
		return out.print(c, json.RawMessage(body), granted.write)
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

// endpoint is the URL of the token endpoint.
func (r *tokenRequest) endpoint() (*url.URL, error) {
	u, err := url.Parse(r.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, errors.New("--url must be an http:// or https:// URL, without a user, as in https://auth.example.com")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/oauth/token"
	}
	return u, nil
}

// form is the parameters in the order in which they are shown.
func (r *tokenRequest) form() [][2]string {
	grant := "client_credentials"
	if r.refreshToken != "" {
		grant = "refresh_token"
	}
	all := [][2]string{{"grant_type", grant}}
	if !r.basic {
		all = append(all, [2]string{"client_id", r.key}, [2]string{"client_secret", r.secret})
	}
	for _, p := range [][2]string{{"refresh_token", r.refreshToken}, {"scope", r.scope}, {"through_data", r.throughData}} {
		if p[1] != "" {
			all = append(all, p)
		}
	}
	return all
}

// do sends the request and returns the answer, whatever it is. It fails where
// none came.
func (r *tokenRequest) do(tr *trace) (status int, header http.Header, body []byte, err error) {
	u, err := r.endpoint()
	if err != nil {
		return 0, nil, nil, err
	}
	roots, err := r.roots()
	if err != nil {
		return 0, nil, nil, err
	}
	form := r.form()
	encoded := make([]string, len(form))
	for i, p := range form {
		encoded[i] = url.QueryEscape(p[0]) + "=" + url.QueryEscape(p[1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	var req *http.Request
	ctx = httptrace.WithClientTrace(ctx, tr.connection(func(proto string) { tr.request(req, proto, encoded) }))
	req, err = http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(strings.Join(encoded, "&")))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "authsvc")
	if r.basic { // RFC 6749 section 2.3.1: each part is form-encoded first
		req.SetBasicAuth(url.QueryEscape(r.key), url.QueryEscape(r.secret))
	}
	tr.hide("(secret)", r.secret, url.QueryEscape(r.secret), strings.TrimPrefix(req.Header.Get("Authorization"), "Basic "))
	tr.hide("(refresh token)", r.refreshToken, url.QueryEscape(r.refreshToken))

	client := &http.Client{CheckRedirect: stay, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s: %w", u.Host, unreachable(err, r.timeout))
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s: %w", u.Host, unreachable(err, r.timeout))
	}
	tr.response(res, body)
	return res.StatusCode, res.Header, body, nil
}

// roots are the authorities that are trusted; nil for the system's.
func (r *tokenRequest) roots() (*x509.CertPool, error) {
	if r.caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(r.caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: there is no certificate in PEM form in %s", r.caFile)
	}
	return pool, nil
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

// readGranted reads a token answer, or explains why it is none.
func readGranted(status int, header http.Header, body []byte, l apierr.Lang) (granted, error) {
	var g granted
	if status == http.StatusOK {
		err := json.Unmarshal(body, &g)
		if odd := (*json.UnmarshalTypeError)(nil); errors.As(err, &odd) && g.AccessToken != "" {
			return g, fmt.Errorf("the answer is 200 and has an access_token, but its %s is of another type than RFC 6749 section 5.1 has it: %s", odd.Field, odd.Value)
		}
		if err != nil || g.AccessToken == "" {
			return g, errors.New("the answer is 200, but there is no access_token in it: --url is not that of a token endpoint")
		}
		return g, nil
	}
	if to := header.Get("Location"); status/100 == 3 && to != "" {
		return g, fmt.Errorf("the server redirects to %s: give that as --url, if you trust it with the secret", printable(to))
	}
	var m map[string]any
	_ = json.Unmarshal(body, &m) // what is no JSON has no error_code either
	a := answerOf(m)
	a.status = status
	r, ok := a.row()
	switch {
	case ok:
	case strings.Contains(string(body), "HTTP request to an HTTPS server"):
		return g, errors.New("the server speaks TLS there: use https:// in --url")
	default:
		return g, fmt.Errorf("%s, and not from authsvc (there is no error_code in the answer): something in front of it answered, or --url is another server's", statusText(status))
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
