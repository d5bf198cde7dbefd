package tokenclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"time"
)

// MaxAnswer is how many bytes of an answer are read.
const MaxAnswer = 1 << 20

// Request is a token request (RFC 6749 sections 4.4.2 and 6).
type Request struct {
	Endpoint     *url.URL // see ParseEndpoint
	Key, Secret  string   // client_id and client_secret
	RefreshToken string   // to refresh; without one the grant type is client_credentials
	Scope        string   // optional, as ThroughData
	ThroughData  string
	Basic        bool           // send key and secret with HTTP Basic, not in the form
	Roots        *x509.CertPool // the authorities to trust; nil for the system's
	Timeout      time.Duration
	// Transcript is called with each line of the exchange, as curl -v shows it; nil for
	// none. Secret and tokens are masked.
	Transcript func(line string)
}

// Answer is a server's answer, whatever it is.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most MaxAnswer
}

// ParseEndpoint returns the URL of the token endpoint for the address of a server, or
// of the endpoint itself.
func ParseEndpoint(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, errors.New("must be an http:// or https:// URL, without a user, as in https://auth.example.com")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/oauth/token"
	}
	return u, nil
}

// RootsWith returns the system's authorities and those of a PEM file.
func RootsWith(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("there is no certificate in PEM form in %s", file)
	}
	return pool, nil
}

// form returns the parameters in the order in which they are shown.
func (r *Request) form() []string {
	grant := "client_credentials"
	if r.RefreshToken != "" {
		grant = "refresh_token"
	}
	all := [][2]string{{"grant_type", grant}}
	if !r.Basic {
		all = append(all, [2]string{"client_id", r.Key}, [2]string{"client_secret", r.Secret})
	}
	for _, p := range [][2]string{{"refresh_token", r.RefreshToken}, {"scope", r.Scope}, {"through_data", r.ThroughData}} {
		if p[1] != "" {
			all = append(all, p)
		}
	}
	encoded := make([]string, len(all))
	for i, p := range all {
		encoded[i] = url.QueryEscape(p[0]) + "=" + url.QueryEscape(p[1])
	}
	return encoded
}

// Do sends the request and returns the answer, whatever it is. It follows no redirect,
// which would send the secret along. If there is no answer, the error says why; it never
// holds the secret or a token.
func (r *Request) Do() (Answer, error) {
	answer, err := r.do()
	if err != nil {
		return Answer{}, errors.New(r.Mask(fmt.Sprintf("%s: %v", r.Endpoint.Host, err)))
	}
	return answer, nil
}

// trust says how to pass the certificate of an authority to token get.
const trust = "with --ca FILE"

func (r *Request) do() (Answer, error) {
	form := r.form()
	t := transcript{r}
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	var req *http.Request
	ctx = httptrace.WithClientTrace(ctx, t.connection(func(proto string) { t.request(req, proto, form) }))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Endpoint.String(), strings.NewReader(strings.Join(form, "&")))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "authsvc")
	if r.Basic {
		req.SetBasicAuth(r.basic())
	}
	client := &http.Client{CheckRedirect: stay, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.Roots},
	}}
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, Unreachable(err, r.Timeout, trust)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswer))
	if err != nil {
		return Answer{}, Unreachable(err, r.Timeout, trust)
	}
	t.response(res, body)
	return Answer{res.StatusCode, res.Header, body}, nil
}

// basic returns key and secret for HTTP Basic: RFC 6749 section 2.3.1 requires each to be
// form-encoded first.
func (r *Request) basic() (user, password string) {
	return url.QueryEscape(r.Key), url.QueryEscape(r.Secret)
}

// stay makes a client follow no redirect.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
