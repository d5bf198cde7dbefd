package httpapi

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
)

// missing returns the hint about a parameter that is missing: what was sent in its place,
// or plain if nothing like it was.
func (f *form) missing(x *answer.Exchange, p param, plain string) string {
	is := "The " + params[p].name + " parameter is missing. "
	if odd := f.odd(x.Request()); odd != "" {
		return is + odd
	}
	switch near := f.near[p]; {
	case near == "":
	case strings.HasPrefix(near, "amp;"):
		return is + "The body has &amp; in it. Separate parameters with & alone."
	case strings.HasPrefix(near, "client_assertion"):
		return is + "There is a client_assertion, which is not supported: send client_id and client_secret."
	case strings.Trim(near, nameChars) == "":
		return is + "There is one named " + near + ": name it " + params[p].name + "."
	default:
		return is + "There is one whose name has a quote, a blank, a line break or the like in it."
	}
	if x.Query(params[p].name) != "" {
		return is + "The URL has one, but parameters in the URL are not read. Send all of them in the body."
	}
	return plain
}

// nameChars are those that a hint shows of a name.
const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]"

// odd returns what is odd about the body as a whole, and what to do, or "".
func (f *form) odd(r *http.Request) string {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return "The body has a Content-Encoding, which is not decoded. Send it as it is, uncompressed."
	}
	begin := string(f.begin[:f.begun])
	switch {
	case begin == "" && f.fault == "" && r.URL.RawQuery != "":
		return "The body is empty, and parameters in the URL are not read. Send all of them in the body."
	case begin == "" && f.fault == "":
		return "The body is empty. Send the parameters in it, as name=value pairs joined by &."
	case begin == "":
		return "" // it could not be read
	case begin == "\xef\xbb\xbf":
		return "The body begins with a byte order mark (BOM). Send it without."
	case strings.HasPrefix(begin, "\xff\xfe"), strings.HasPrefix(begin, "\xfe\xff"), len(begin) > 1 && (begin[0] == 0) != (begin[1] == 0):
		return "The body is in UTF-16. Send it in UTF-8."
	case strings.HasPrefix(begin, "\x1f\x8b"):
		return "The body is compressed. Send it as it is."
	}
	switch begin[0] {
	case '{', '[':
		return "The body begins with " + begin[:1] + ", as JSON does, but was sent as a form. Send name=value pairs joined by &."
	case '<':
		return "The body begins with <, as XML does, but was sent as a form. Send name=value pairs joined by &."
	case '"', '\'':
		return "The body begins with a quote. Send it without quotes."
	case '?':
		return "The body begins with a question mark. Send it without."
	}
	if strings.HasPrefix(begin, "--") {
		return "The body is multipart, but was sent as a form. Send name=value pairs joined by &."
	}
	return ""
}

// nearMiss keeps a name that is not one of known, if it is nearly one of them.
func (p *formParser) nearMiss() {
	if p.nameLen < 3 || p.nameLen == len(p.name) {
		return
	}
	var letters [len(p.name)]byte
	n := 0
	for _, c := range p.name[:p.nameLen] {
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z':
		case '0' <= c && c <= '9':
			return
		default:
			continue
		}
		letters[n] = c
		n++
	}
	name := strings.TrimPrefix(string(letters[:n]), "amp")
	for _, k := range p.known {
		if p.form.near[k] == "" && nearly(k, name) {
			p.form.near[k] = string(p.name[:p.nameLen])
		}
	}
}

// nearly reports whether the letters of a name, in lower case, are those of a parameter, or
// what other services call it.
func nearly(k param, letters string) bool {
	switch k {
	case grantType:
		return letters == "granttype" || letters == "grant" || letters == "granttypes"
	case clientID:
		switch letters {
		case "clientid", "appkey", "appid", "client", "clientkey", "consumerkey", "apikey", "clientassertion":
			return true
		}
	case clientSecret:
		switch letters {
		case "clientsecret", "appsecret", "secret", "clientpassword", "consumersecret", "apisecret", "clientassertion":
			return true
		}
	case refreshToken:
		return letters == "refreshtoken" || letters == "refresh" || letters == "token"
	case tokenParam:
		return letters == "token" || letters == "accesstoken" || letters == "refreshtoken"
	}
	return false
}

// edges returns a sentence about what surrounds a value that should not, or "".
func edges(value string) string {
	if value == "" {
		return ""
	}
	for _, where := range []struct{ does, char string }{
		{"begins", value[:1]},
		{"ends", value[len(value)-1:]},
	} {
		switch where.char {
		case `"`, "'":
			return " This one " + where.does + " with a quote."
		case " ", "\t":
			return " This one " + where.does + " with a blank."
		case "\r", "\n":
			return " This one " + where.does + " with a line break."
		}
	}
	return ""
}

// withhold makes sure that a hint about a scope is not about the secret in its place.
func (c *client) withhold(err error) error {
	e := (*apierr.Error)(nil)
	if errors.As(err, &e) && slices.ContainsFunc(c.secrets, func(s string) bool { return strings.Contains(e.Hint, s) }) {
		e.Hint = "The scope parameter has the client_secret in it. Leave it out, and replace the secret if others could see it."
	}
	return err
}
