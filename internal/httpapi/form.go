package httpapi

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"unicode/utf8"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/token"
)

// maxBody is the maximum size of a request body, in bytes (the row APIG.0201, 413).
const maxBody = 12 << 20

// param is a form parameter that some endpoint accepts.
type param uint8

const (
	grantType param = iota
	clientID
	clientSecret
	refreshToken
	throughData
	scope
	tokenParam
	tokenTypeHint
	paramCount
)

// params holds the names of the parameters, and how many bytes of a value its rule needs.
// One more byte is kept, so that the rule can detect a longer value.
var params = [paramCount]struct {
	name string
	keep int
}{
	grantType:     {"grant_type", len("client_credentials")},
	clientID:      {"client_id", app.MaxKeyLen},
	clientSecret:  {"client_secret", app.MaxSecretLen},
	refreshToken:  {"refresh_token", token.TokenLen},
	throughData:   {"through_data", token.MaxThroughData * utf8.UTFMax},
	scope:         {"scope", token.MaxScopeLen},
	tokenParam:    {"token", token.TokenLen},
	tokenTypeHint: {"token_type_hint", 0},
}

// maxName is the length of the longest name in params.
const maxName = len("token_type_hint")

// form is a parsed body.
type form struct {
	// values holds the values of the known parameters, cut one byte after what their
	// rule needs; "" for one that is missing or empty (the same by RFC 6749 section
	// 3.2).
	values [paramCount]string
	// fault says what is wrong with the body (rule 3), or is "". It is kept, not
	// returned, because other rules come first.
	fault string
	// near holds, for a known parameter, the first other name that is nearly its.
	near [paramCount]string
	// begin holds the first bytes, of which there are begun.
	begin [3]byte
	begun int
	// escaped: the secret has a letter or digit in the form of an escape, which nothing
	// that form-encodes needs to write.
	escaped bool
}

// has reports whether a parameter was given with a value.
func (f *form) has(p param) bool { return f.values[p] != "" }

// readForm reads a body to the end, in one pass and in bounded memory, whatever its
// size. It keeps only the parameters in known; the rest must still be valid UTF-8 without
// NUL. Its error is APIG.0201 (413).
func readForm(body io.Reader, known []param) (form, error) {
	b := formBuffers.Get().(*formBuffer)
	defer formBuffers.Put(b)
	p := formParser{known: known, value: b.value[:0]}
	var tooLarge *http.MaxBytesError
	for {
		n, err := body.Read(b.read[:])
		p.form.begun += copy(p.form.begin[p.form.begun:], b.read[:n])
		p.write(b.read[:n])
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			p.endPair()
			return p.form, nil
		case errors.As(err, &tooLarge):
			return form{}, errBodyTooLarge()
		default:
			// It was cut off, or its chunks are malformed.
			p.fail("The body could not be read to the end. Send all of it, with the right Content-Length.")
			return p.form, nil
		}
	}
}

func errBodyTooLarge() error {
	return apierr.New(apierr.RequestEntityTooLarge,
		"The body is larger than 12 MiB. A token request needs a few hundred bytes.")
}

// formBuffer is the memory for parsing a form, besides the values. Each request whose body
// has not arrived yet holds one, so it has room for a usual body, and no more.
type formBuffer struct {
	read  [512]byte
	value [256]byte // a longer one that is kept is moved elsewhere
}

var formBuffers = sync.Pool{New: func() any { return new(formBuffer) }}

// formParser holds the state of the parser between two bytes of a form
// (application/x-www-form-urlencoded, WHATWG URL section 5.1).
type formParser struct {
	known []param
	form  form
	seen  [paramCount]bool

	inValue bool
	name    [maxName + 9]byte // a longer name is not a known one, nor nearly one
	nameLen int
	current param  // the parameter being read; paramCount for an unknown one
	value   []byte // the part of its value that is kept

	escape  int // the number of digits of a %xx still to come
	escaped byte
	rune    [utf8.UTFMax]byte // an unfinished UTF-8 sequence
	runeLen int
}

func (p *formParser) fail(fault string) {
	if p.form.fault == "" {
		p.form.fault = fault
	}
}

// badText is fail, for a character that no parameter may have.
func (p *formParser) badText(fault string) {
	if p.form.fault == "" && p.inValue && p.current == clientSecret {
		fault += " It is in the client_secret." + encodePercent
	}
	p.fail(fault)
}

const encodePercent = " If the secret has a percent sign in it, write %25 for that in a form."

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (p *formParser) write(b []byte) {
	for _, c := range b {
		switch {
		case c == '&':
			p.endPair()
		case p.escape > 0:
			p.hexDigit(c)
		case c == '%':
			p.escape, p.escaped = 2, 0
		case c == '=' && !p.inValue:
			p.endName()
		case c == '+':
			p.add(' ')
		default:
			p.add(c)
		}
	}
}

func (p *formParser) hexDigit(c byte) {
	var d byte
	switch {
	case '0' <= c && c <= '9':
		d = c - '0'
	case 'a' <= c && c <= 'f':
		d = c - 'a' + 10
	case 'A' <= c && c <= 'F':
		d = c - 'A' + 10
	default:
		p.fail("The body has a percent sign that is not followed by two hexadecimal digits. Form-encode every value; a percent sign itself is %25.")
		p.escape = 0
		return
	}
	p.escaped = p.escaped<<4 | d
	if p.escape--; p.escape == 0 {
		if p.inValue && p.current == clientSecret && alphanumeric(p.escaped) {
			p.form.escaped = true
		}
		p.add(p.escaped)
	}
}

// add appends one decoded byte to the current name or value.
func (p *formParser) add(c byte) {
	if c == 0 {
		p.badText("The body has a NUL character. No parameter may contain one.")
	}
	if c >= utf8.RuneSelf || p.runeLen > 0 {
		p.addRune(c)
	}
	switch {
	case !p.inValue:
		if p.nameLen < len(p.name) {
			p.name[p.nameLen] = c
			p.nameLen++
		}
	case p.current != paramCount && len(p.value) <= params[p.current].keep:
		p.value = append(p.value, c)
	}
}

func (p *formParser) addRune(c byte) {
	p.rune[p.runeLen] = c
	p.runeLen++
	if seq := p.rune[:p.runeLen]; utf8.FullRune(seq) {
		if r, size := utf8.DecodeRune(seq); r == utf8.RuneError && size <= 1 {
			p.badText(badUTF8)
		}
		p.runeLen = 0
	}
}

const badUTF8 = "The body is not valid UTF-8. Encode every parameter in UTF-8 before form-encoding it."

// endText checks that no escape or rune is unfinished at the end of a name or value.
func (p *formParser) endText() {
	if p.escape > 0 {
		p.hexDigit('&')
	}
	if p.runeLen > 0 {
		p.badText(badUTF8)
		p.runeLen = 0
	}
}

func (p *formParser) endName() {
	p.endText()
	p.inValue, p.current, p.value = true, paramCount, p.value[:0]
	for _, k := range p.known {
		if params[k].name == string(p.name[:p.nameLen]) {
			if p.seen[k] {
				if p.form.fault == "" {
					p.fail("The " + params[k].name + " parameter is given more than once. Send it once.")
				}
				return // the first value stays
			}
			p.seen[k] = true
			p.current = k
		}
	}
	if p.current == paramCount {
		p.nearMiss()
	}
}

func (p *formParser) endPair() {
	if !p.inValue {
		p.endName() // a name without "=" is a parameter without a value
	}
	p.endText()
	if p.current != paramCount {
		p.form.values[p.current] = string(p.value)
	}
	p.inValue, p.nameLen = false, 0
}
