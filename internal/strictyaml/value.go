package strictyaml

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// Kind is the syntactic kind of a value.
type Kind int

// The kinds.
const (
	None  Kind = iota // no value
	Null              // null, ~, or nothing after a colon or a dash
	Text              // plain or quoted text
	Block             // a block of text after | or >
	Int               // a whole number
	Float             // another number
	Bool              // true or false
	List
	Map
	Other // a tag, an anchor or an alias
)

// Value is a value in a text.
type Value struct{ node ast.Node }

// Kind returns the kind of the value.
func (v Value) Kind() Kind {
	switch v.node.(type) {
	case nil:
		return None
	case *ast.NullNode:
		return Null
	case *ast.StringNode:
		return Text
	case *ast.LiteralNode:
		return Block
	case *ast.IntegerNode:
		return Int
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return Float
	case *ast.BoolNode:
		return Bool
	case *ast.SequenceNode:
		return List
	case *ast.MappingNode, *ast.MappingValueNode:
		return Map
	default:
		return Other
	}
}

// Line returns the line in which the value begins, from 1, or 0 if it is not known.
func (v Value) Line() int { return lineOf(v.node) }

// Text returns the text of a Text or a Block. For any other kind, the error says what to
// do.
func (v Value) Text() (string, error) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	}
	switch v.Kind() {
	case None, Null:
		return "", errors.New("is empty; leave it out, or give a value")
	case Int, Float, Bool:
		return "", errors.New("must be text, and YAML reads it as a number or a truth value: put it in quotes")
	case List, Map:
		return "", errors.New("must be text, not a list or a mapping")
	default:
		return "", errors.New("YAML tags, anchors and aliases are not read here: put the value in quotes")
	}
}

// Source returns an Int, a Float or a Bool as written, or "" for any other kind.
func (v Value) Source() string {
	switch v.Kind() {
	case Int, Float, Bool:
		return v.node.GetToken().Value
	}
	return ""
}

// Uint returns the value of a nonnegative Int, and reports whether it is one.
func (v Value) Uint() (uint64, bool) {
	if n, ok := v.node.(*ast.IntegerNode); ok {
		u, ok := n.Value.(uint64)
		return u, ok
	}
	return 0, false
}

// Items returns the values of a List, or nil for any other kind.
func (v Value) Items() []Value {
	n, ok := v.node.(*ast.SequenceNode)
	if !ok {
		return nil
	}
	items := make([]Value, len(n.Values))
	for i, item := range n.Values {
		items[i] = Value{item}
	}
	return items
}

// Field is the value of an entry of a Map.
type Field struct {
	Value
	line int
}

// Line returns the line of the key, from 1.
func (f Field) Line() int { return f.line }

// Fields returns the entries of a Map by key, and a fault for each entry whose key is a
// duplicate or not known; unknown returns the text of the latter, and is called with "" for
// a key that is not a Text.
func (v Value) Fields(known []string, unknown func(key string) string) (map[string]Field, []Fault) {
	var entries []*ast.MappingValueNode
	switch n := v.node.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	}
	var faults []Fault
	fields := make(map[string]Field, len(entries))
	for _, e := range entries {
		line, key := lineOf(e.Key), ""
		if n, ok := e.Key.(*ast.StringNode); ok {
			key = n.Value
		}
		if !slices.Contains(known, key) {
			faults = append(faults, Fault{line, unknown(key)})
		} else if first, twice := fields[key]; twice {
			faults = append(faults, Fault{line, fmt.Sprintf("%s: duplicate key, first in line %d", key, first.line)})
		} else {
			fields[key] = Field{Value{e.Value}, line}
		}
	}
	return fields, faults
}

func lineOf(n ast.Node) int {
	if n == nil {
		return 0
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}
