package httpapi

import (
	"cmp"
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"authsvc/internal/answer"
	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// client is the app that a request claims to come from.
type client struct {
	id string // "": not given
	// secrets are the possible secrets: one, or two if HTTP Basic can be read in two
	// ways. None: not given.
	secrets []string
	// escaped is the form's, if the secret is from the body.
	escaped bool
}

// parse applies rules 0 (413) to 3 of doc.go to a POST request of an app, and returns
// the parameters in known and the client. Its errors are APIG.0201 (413), 2204, 2206
// and 2205. Rules 0 and 2 need the whole body, so it is read before any rule answers.
func parse(x *answer.Exchange, known ...param) (f form, c client, err error) {
	r := x.Request()
	if r.ContentLength > maxBody {
		return f, c, errBodyTooLarge() // rule 0, at once
	}
	f, err = readForm(http.MaxBytesReader(x.Writer(), r.Body, maxBody), known)
	if err != nil {
		return f, c, err // rule 0
	}
	if types := r.Header.Values("Content-Type"); !isForm(types) { // rule 1
		if len(types) == 0 && f.begun == 0 && f.fault == "" {
			return f, c, apierr.New(apierr.ContentTypeInvalid, f.odd(r))
		}
		return f, c, apierr.New(apierr.ContentTypeInvalid,
			"The Content-Type header is not application/x-www-form-urlencoded (its charset, if any, must be UTF-8). Send the parameters as a form.")
	}
	if auth := r.Header.Values("Authorization"); len(auth) > 0 {
		if c, err = basicClient(auth, &f); err != nil {
			return f, c, err // rule 2, or 3
		}
	} else {
		c.id = f.values[clientID]
		if f.has(clientSecret) {
			c.secrets, c.escaped = []string{f.values[clientSecret]}, f.escaped
		}
	}
	if f.fault != "" { // rule 3
		return f, c, apierr.New(apierr.AuthParameterInvalid, cmp.Or(f.odd(r), f.fault))
	}
	return f, c, nil
}

// isForm reports whether a Content-Type is that of a form in UTF-8.
func isForm(contentType []string) bool {
	const form = "application/x-www-form-urlencoded"
	if len(contentType) != 1 || len(contentType[0]) > 256 { // parsing takes a time that is not linear
		return false
	}
	if contentType[0] == form {
		return true
	}
	media, p, err := mime.ParseMediaType(contentType[0])
	charset, given := p["charset"]
	return err == nil && media == form && (!given || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8"))
}

// basicClient returns the client in the Authorization headers of a request (RFC 6749
// section 2.3.1). Its errors are APIG.2206 (rule 2) and 2205 (rule 3).
func basicClient(headers []string, f *form) (c client, err error) {
	if len(headers) > 1 {
		return c, apierr.New(apierr.AuthMethodInvalid,
			"The request has more than one Authorization header. Send one.")
	}
	scheme, encoded, _ := strings.Cut(headers[0], " ")
	if scheme == "" {
		return c, apierr.New(apierr.AuthMethodInvalid,
			"The Authorization header is empty. Give it a value, or leave it out and send client_id and client_secret in the body.")
	}
	if !strings.EqualFold(scheme, "Basic") {
		return c, apierr.New(apierr.AuthMethodInvalid,
			"The scheme of the Authorization header is not Basic. Use Basic, or send client_id and client_secret in the body.")
	}
	if f.has(clientSecret) {
		return c, apierr.New(apierr.AuthMethodInvalid,
			"The client authenticates in two ways, with the Authorization header and with client_secret in the body. Use one.")
	}
	decoded, decodeErr := base64.StdEncoding.DecodeString(strings.TrimLeft(encoded, " "))
	text := string(decoded)
	id, secret, colon := strings.Cut(text, ":")
	if decodeErr != nil || !colon || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return c, apierr.New(apierr.AuthParameterInvalid,
			"The Authorization header is malformed. Send Basic followed by the base64 encoding of client_id:client_secret.")
	}
	c.id, c.secrets = readBasic(id, secret)
	if f.has(clientID) && f.values[clientID] != c.id {
		return c, apierr.New(apierr.AuthMethodInvalid,
			"The client_id in the body differs from the one in the Authorization header. Leave it out of the body, or send the same one.")
	}
	return c, nil
}

// readBasic returns the possible meanings of the two parts of HTTP Basic. RFC 6749
// requires each to be form-encoded first, but curl and others send them unencoded. For a
// secret with a percent sign both readings may be valid, and then both are tried.
func readBasic(id, secret string) (key string, secrets []string) {
	if d, err := url.QueryUnescape(id); err == nil && app.ValidKey(d) {
		id = d
	}
	if secret == "" {
		return id, nil
	}
	d, err := url.QueryUnescape(secret)
	if err != nil || d == secret || !app.ValidSecret(d) {
		return id, []string{secret}
	}
	if !app.ValidSecret(secret) {
		return id, []string{d}
	}
	return id, []string{d, secret}
}

// required applies the first half of rule 5. Its errors are APIG.2211 and 2212.
func (c *client) required(x *answer.Exchange, f *form) error {
	if c.id == "" {
		return apierr.New(apierr.ClientIDMissing, f.missing(x, clientID,
			"The client_id parameter is missing. Send it in the body, or with HTTP Basic."))
	}
	if len(c.secrets) == 0 {
		return apierr.New(apierr.ClientSecretMissing, f.missing(x, clientSecret,
			"The client_secret parameter is missing. Send it in the body, or with HTTP Basic."))
	}
	return nil
}

// authenticate applies rules 7, 9 and 10, which hold for every endpoint that apps call.
// Its errors are APIG.2201, 1009, 0502 and 0405.
func (s *server) authenticate(x *answer.Exchange, c client) (app.Authenticated, error) {
	// Rule 7.
	if !app.ValidKey(c.id) {
		return app.Authenticated{}, apierr.New(apierr.KeyOrSecretMalformed,
			"The client_id is not a valid AppKey: that has 8 to 200 of the characters A-Z a-z 0-9 _ - and starts with a letter or digit."+edges(c.id))
	}
	for _, secret := range c.secrets {
		if !app.ValidSecret(secret) {
			return app.Authenticated{}, apierr.New(apierr.KeyOrSecretMalformed,
				"The client_secret is not a valid secret: that has 8 to 128 of the characters A-Z a-z 0-9 _ - ! @ # $ % and starts with a letter or digit. In a form, write % as %25."+edges(secret))
		}
	}
	if _, known := s.cfg.Apps.Lookup(c.id); known {
		x.SetApp(c.id)
	}
	// Rule 9.
	who, err := s.cfg.Apps.Authenticate(c.id, c.secrets...)
	if err != nil {
		if e := (*apierr.Error)(nil); c.escaped && errors.As(err, &e) {
			e.Hint += encodePercent
		}
		return who, err
	}
	x.SetProved()
	// Rule 10.
	return who, who.Admit(x.ClientIP())
}
