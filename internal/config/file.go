package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// fileValue is what the file says of a setting.
type fileValue struct {
	values []string
	line   int
	source string // "authsvc.yaml: line 3: listen"
	bad    bool   // of the wrong type, which was reported
}

// readFile reads the settings in a YAML file, by key, and reports what is wrong
// with it. from is what named the file. The parser's own errors are not shown,
// because they quote the source.
func (s *Settings) readFile(path, from string) map[string]fileValue {
	data, err := os.ReadFile(path)
	if err != nil {
		s.fault("%s: %s can't be read: %s", from, path, cause(err))
		return nil
	}
	entries, line, err := parseYAML(data)
	if err != nil {
		s.fault("%s: %s", at(path, line), err)
		return nil
	}
	known := map[string]*setting{}
	var keys []string
	for _, st := range s.all {
		if !st.notInFile {
			known[st.key()] = st
			keys = append(keys, st.key())
		}
	}
	file := map[string]fileValue{}
	for _, e := range entries {
		line := lineOf(e.Key)
		key, ok := e.Key.(*ast.StringNode)
		if !ok {
			s.fault("%s: a key must be the name of a setting", at(path, line))
			continue
		}
		st, ok := known[key.Value]
		if !ok {
			name := key.Value
			if !plain(name) {
				name = "this key"
			}
			s.fault("%s: %s is not a setting%s", at(path, line), name, didYouMean(key.Value, keys))
			continue
		}
		if first, twice := file[key.Value]; twice {
			s.fault("%s: %s: duplicate key, first in line %d", at(path, line), key.Value, first.line)
			continue
		}
		v := fileValue{line: line, source: at(path, line) + ": " + key.Value}
		if v.values, err = valuesOf(e.Value, st.kind); err != nil {
			v.bad = true
			s.fault("%s: %s", v.source, err)
		}
		file[key.Value] = v
	}
	return file
}

// plain tells whether a key looks like the name of a setting. One that does not is
// not shown: it may be a piece of a secret.
func plain(key string) bool {
	return !strings.ContainsFunc(key, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && r != '-'
	})
}

func at(path string, line int) string {
	if line == 0 {
		return path
	}
	return fmt.Sprintf("%s: line %d", path, line)
}

// parseYAML is the entries of the one mapping in data, or what is wrong and in
// which line, 0 if that is not known.
func parseYAML(data []byte) (entries []*ast.MappingValueNode, line int, err error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, 0, errors.New("not a text file in UTF-8")
	}
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var e yaml.Error
		if errors.As(err, &e) && e.GetToken() != nil && e.GetToken().Position != nil {
			line = e.GetToken().Position.Line
		}
		return nil, line, errors.New("not valid YAML from here on: look at the indentation, the colons and the quotes")
	}
	var root ast.Node
	for _, d := range f.Docs {
		switch {
		case d.Body == nil:
		case root != nil || d.Body.Type() == ast.DirectiveType:
			return nil, lineOf(d.Body), errors.New("YAML directives and further documents are not read here")
		default:
			root = d.Body
		}
	}
	switch n := root.(type) {
	case nil:
		return nil, 0, nil // no settings; the defaults may do
	case *ast.MappingNode:
		return n.Values, 0, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, 0, nil
	default:
		return nil, lineOf(n), errors.New("must consist of settings, each with a name and a colon")
	}
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// valuesOf is the value of a setting of some kind.
func valuesOf(n ast.Node, k kind) ([]string, error) {
	switch n := n.(type) {
	case *ast.NullNode:
		return nil, errors.New("is empty; leave it out, or give a value")
	case *ast.TagNode, *ast.AnchorNode, *ast.AliasNode:
		return nil, errors.New("YAML tags, anchors and aliases are not read here: put the value in quotes")
	case *ast.BoolNode:
		if k == boolKind {
			return []string{n.GetToken().Value}, nil
		}
	case *ast.IntegerNode, *ast.FloatNode:
		if k == numberKind {
			return []string{n.GetToken().Value}, nil
		}
	case *ast.SequenceNode:
		if k == listKind {
			values := []string{}
			for _, item := range n.Values {
				text, ok := item.(*ast.StringNode)
				if !ok {
					return nil, errors.New("must be a list of texts: put each in quotes")
				}
				values = append(values, text.Value)
			}
			return values, nil
		}
	case *ast.StringNode:
		if k == textKind || k == durationKind {
			return []string{n.Value}, nil
		}
	}
	return nil, errors.New(map[kind]string{
		boolKind:     "must be true or false, without quotes",
		listKind:     "must be a list, such as [one, two]",
		durationKind: "must be a duration with a unit, as in 300ms, 90s or 1h",
		numberKind:   "must be a number, without quotes",
		textKind:     "must be text: put it in quotes",
	}[k])
}
