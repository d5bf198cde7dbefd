package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxSize is the maximum size of a text, in bytes.
const MaxSize = 8 << 20

// The other limits of a text. The parser's time is quadratic in the depth and in the
// number of keys of a mapping: a megabyte of brackets takes an hour, and a stack overflow
// ends the process. What stands between two signs takes up to 900 bytes of memory, so
// that no text takes more than 300 MB; 10,000 apps have 180,000 signs.
const (
	maxSigns = 300_000 // punctuation and line breaks
	maxDepth = 64      // of nested lists and mappings
	maxKeys  = 1000    // of one mapping
)

// lineEnds turns every line break into a line feed (YAML 1.2.2, section 5.4). The parser
// counts the line of a comment twice if it ends with two characters.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// Fault is something that is wrong with a text. It does not quote the text.
type Fault struct {
	Line int // from 1; 0: the text as a whole
	Text string
}

// Parse returns the value of the only document in data, or a fault. The value of a text
// without a document has the kind None.
func Parse(data []byte) (v Value, fault *Fault) {
	defer func() {
		// A file that a running service reloads must never end it.
		if recover() != nil {
			v, fault = Value{}, &Fault{Text: "not valid YAML"}
		}
	}()
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // the byte order mark
	switch {
	case len(data) > MaxSize:
		return Value{}, &Fault{Text: fmt.Sprintf("longer than %d bytes", MaxSize)}
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return Value{}, &Fault{Text: "not a text file in UTF-8"}
	case signs(data) > maxSigns:
		return Value{}, &Fault{Text: fmt.Sprintf("more than %d line breaks and signs such as colons, commas and brackets", maxSigns)}
	}
	tokens := lexer.Tokenize(lineEnds.Replace(string(data)))
	var open nesting
	for _, t := range tokens {
		if limit := open.add(t); limit != "" {
			return Value{}, &Fault{t.Position.Line, limit}
		}
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // Fields names both lines
	if err != nil {
		return Value{}, syntax(err)
	}
	var root ast.Node
	for _, d := range f.Docs {
		switch {
		case d.Body == nil:
		case root != nil || d.Body.Type() == ast.DirectiveType:
			return Value{}, &Fault{lineOf(d.Body), "YAML directives and further documents are not read here"}
		default:
			root = d.Body
		}
	}
	return Value{root}, nil
}

// signs returns how many characters in data can end or begin something in YAML. Words
// with colons and hyphens inside have none.
func signs(data []byte) int {
	n := 0
	for i, b := range data {
		switch b {
		case '[', ']', '{', '}', ',', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', '\r', '\n':
			n++
		case '-', '?', ':':
			if i+1 == len(data) || data[i+1] <= ' ' {
				n++
			}
		}
	}
	return n
}

// syntax returns the fault for a parser error, whose own text quotes the source.
func syntax(err error) *Fault {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil || at.GetToken().Position == nil {
		return &Fault{Text: "not valid YAML"}
	}
	p := at.GetToken().Position
	return &Fault{p.Line, fmt.Sprintf("not valid YAML from here on (column %d): look at the indentation, the colons and the quotes", p.Column)}
}

// nesting holds the lists and mappings that are open at a token, outermost first. A list
// in the same column as its key is not counted: this only protects the parser, so it need
// not be exact.
type nesting struct {
	open  []collection
	marks int // tags and anchors in a row, each of which the parser takes for a level
}

type collection struct {
	flow   bool // in brackets or braces
	column int  // of each entry, if not flow
	keys   int
}

// add processes the next token and returns the limit that it exceeds, if any.
func (n *nesting) add(t *token.Token) string {
	switch {
	case t.Type == token.TagType || t.Type == token.AnchorType:
		n.marks++
	case t.Type != token.CommentType && (t.Prev == nil || t.Prev.Type != token.AnchorType): // the name of an anchor
		n.marks = 0
	}
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		n.open = append(n.open, collection{flow: true})
	case token.MappingEndType, token.SequenceEndType:
		if last := len(n.open) - 1; last >= 0 && n.open[last].flow {
			n.open = n.open[:last]
		}
	case token.SequenceEntryType:
		n.entry(t.Position.Column)
	case token.MappingKeyType:
		n.entry(t.Position.Column).keys++
	case token.MappingValueType:
		if t.Prev != nil { // the key
			t = t.Prev
		}
		n.entry(t.Position.Column).keys++
	}
	switch last := len(n.open) - 1; {
	case n.marks > maxDepth:
		return fmt.Sprintf("more than %d YAML tags and anchors in a row", maxDepth)
	case last >= maxDepth:
		return fmt.Sprintf("lists and mappings nested more than %d deep: look for a bracket that is not closed", maxDepth)
	case last >= 0 && n.open[last].keys > maxKeys:
		return fmt.Sprintf("more than %d keys in one mapping: look for a brace that is not closed", maxKeys)
	}
	return ""
}

// entry returns the collection that an entry in a column belongs to, after closing those
// that the entry ends.
func (n *nesting) entry(column int) *collection {
	for last := len(n.open) - 1; last >= 0; last-- {
		if c := &n.open[last]; c.flow || c.column == column {
			n.open = n.open[:last+1]
			return c
		} else if c.column < column {
			n.open = append(n.open[:last+1], collection{column: column})
			return &n.open[last+1]
		}
	}
	n.open = append(n.open[:0], collection{column: column})
	return &n.open[0]
}
