package tokenclient

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"
)

// transcript shows an exchange as curl -v does: "*" marks events, ">" what is sent, "<"
// what is received.
type transcript struct{ r *Request }

func (t transcript) line(mark, format string, args ...any) {
	if t.r.Transcript != nil {
		t.r.Transcript(strings.TrimRight(mark+" "+t.r.Mask(fmt.Sprintf(format, args...)), " "))
	}
}

// Mask returns a text without the secret and the refresh token of the request, in any
// spelling in which they were sent: a server can echo them anywhere.
func (r *Request) Mask(text string) string {
	user, password := r.basic()
	var pairs []string // old and new, the longest first
	for _, s := range [][2]string{
		{base64.StdEncoding.EncodeToString([]byte(user + ":" + password)), "(secret)"},
		{password, "(secret)"},
		{r.Secret, "(secret)"},
		{url.QueryEscape(r.RefreshToken), "(refresh token)"},
		{r.RefreshToken, "(refresh token)"},
	} {
		if s[0] != "" {
			pairs = append(pairs, s[0], s[1])
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// connection shows what happens before a request, and calls send once there is a
// connection, so that nothing is shown as sent without one.
func (t transcript) connection(send func(proto string)) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			t.line("*", "connected to %s", c.Conn.RemoteAddr())
			proto := "HTTP/1.1"
			if c, ok := c.Conn.(*tls.Conn); ok && c.ConnectionState().NegotiatedProtocol == "h2" {
				proto = "HTTP/2.0"
			}
			send(proto)
		},
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			if err != nil || len(s.PeerCertificates) == 0 {
				return // the error comes back from the request as well
			}
			cert := s.PeerCertificates[0]
			t.line("*", "%s; certificate of %s by %s, good until %s", tls.VersionName(s.Version),
				strings.Join(append(slices.Clone(cert.DNSNames), addresses(cert.IPAddresses)...), ", "), cert.Issuer, cert.NotAfter.UTC().Format(time.RFC3339))
		},
	}
}

func addresses(ips []net.IP) []string {
	var all []string
	for _, ip := range ips {
		all = append(all, ip.String())
	}
	return all
}

// request shows what is about to be sent; form is its body, piece by piece.
func (t transcript) request(r *http.Request, proto string, form []string) {
	if host := r.URL.Hostname(); r.URL.Scheme == "http" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		t.line("*", "the secret goes over the network in the clear: use https:// wherever you can")
	}
	t.line(">", "%s %s %s", r.Method, r.URL.RequestURI(), proto)
	t.line(">", "Host: %s", r.URL.Host)
	t.headers(">", r.Header)
	t.line(">", "")
	for i, p := range form {
		if i < len(form)-1 {
			p += "&"
		}
		t.line(">", "%s", p)
	}
}

// response shows what came back.
func (t transcript) response(r *http.Response, body []byte) {
	t.line("<", "%s %s", r.Proto, strings.TrimSpace(fmt.Sprintf("%d %s", r.StatusCode, http.StatusText(r.StatusCode))))
	t.headers("<", r.Header)
	t.line("<", "")
	// Show only what was parsed, encoded again: a token can be spelled in many ways.
	// What can't be parsed is not shown.
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.line("<", "(%d bytes that are no JSON)", len(body))
		return
	}
	shown, err := json.Marshal(withoutTokens(v))
	if err != nil {
		panic(err) // it was JSON a moment ago
	}
	t.line("<", "%s", shown)
}

// withoutTokens masks every member whose name ends in _token, at any depth.
func withoutTokens(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if strings.HasSuffix(name, "_token") {
				v[name] = "(" + strings.ReplaceAll(name, "_", " ") + ")"
			} else {
				v[name] = withoutTokens(member)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutTokens(v[i])
		}
	}
	return v
}

func (t transcript) headers(mark string, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			if name == "Set-Cookie" {
				value = "(cookie)"
			}
			t.line(mark, "%s: %s", name, value)
		}
	}
}
