package appsfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"authsvc/internal/app"
)

const (
	maxNameLen    = 200      // characters
	maxFileSize   = 16 << 20 // bytes
	maxFaultsText = 100      // faults that Error.Error writes out
)

// File is what an apps file says.
type File struct {
	Apps []app.App
	// Warnings are for the log. No warning holds a secret.
	Warnings []string
}

// Error holds everything that is wrong with an apps file. It never quotes a value
// that may be a secret, even in the wrong place: a line number says enough.
type Error struct {
	Path   string
	Faults []string // by line
}

// Error returns one line for each fault; beyond a hundred it counts them.
func (e *Error) Error() string {
	if len(e.Faults) == 1 {
		return e.Path + ": " + e.Faults[0]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d faults", e.Path, len(e.Faults))
	for i, f := range e.Faults {
		if i == maxFaultsText {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Faults)-i)
			break
		}
		b.WriteString("\n  " + f)
	}
	return b.String()
}

// Read reads the apps file, and the secret files it names, and hashes the
// secrets under pepper. It fails with what the operating system says of the
// apps file, or with an *Error that holds every fault at once.
//
// watch, which may be nil, is called with the path of each of these files just before
// it is read, also where it can't be: a change of one is a change of the apps.
func Read(path string, pepper app.Pepper, watch func(path string)) (File, error) {
	if watch == nil {
		watch = func(string) {}
	}
	watch(path)
	data, mode, err := readRegular(path, maxFileSize)
	if err != nil {
		return File{}, fmt.Errorf("reading the apps file: %w", err)
	}
	return parse(path, data, mode, pepper, func(path string) ([]byte, fs.FileMode, error) {
		watch(path)
		return readSecretFile(path)
	})
}

func readSecretFile(path string) ([]byte, fs.FileMode, error) {
	return readRegular(path, app.MaxSecretLen+len("\r\n"))
}

// readRegular reads a file of at most limit bytes, or says that it is longer. A
// named pipe or a device, which could block or never end, is refused.
func readRegular(path string, limit int) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("longer than %d bytes", limit)}
	}
	return data, info.Mode().Perm(), err
}

// fileParser collects what an apps file says and what is wrong with it.
type fileParser struct {
	path   string
	pepper app.Pepper
	read   func(path string) ([]byte, fs.FileMode, error)
	file   File
	faults []fault

	lines       map[string]int  // of the key of each app
	seen        map[string]bool // secret files
	holdsSecret bool            // the apps file itself, in the clear
}

type fault struct {
	line int // 0: of the whole file
	text string
}

// parse is Read without the reading.
func parse(path string, data []byte, mode fs.FileMode, pepper app.Pepper, read func(string) ([]byte, fs.FileMode, error)) (File, error) {
	p := &fileParser{path: path, pepper: pepper, read: read, lines: map[string]int{}, seen: map[string]bool{}}
	p.document(data)
	if len(p.faults) > 0 {
		slices.SortStableFunc(p.faults, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
		e := &Error{Path: path}
		for _, f := range p.faults {
			if f.line > 0 {
				f.text = fmt.Sprintf("line %d: %s", f.line, f.text)
			}
			e.Faults = append(e.Faults, f.text)
		}
		return File{}, e
	}
	if p.holdsSecret && mode&0o044 != 0 {
		p.warnReadable(path, mode)
	}
	return p.file, nil
}

func (p *fileParser) fault(line int, format string, args ...any) {
	p.faults = append(p.faults, fault{line, fmt.Sprintf(format, args...)})
}

func (p *fileParser) warnReadable(path string, mode fs.FileMode) {
	p.file.Warnings = append(p.file.Warnings, fmt.Sprintf(
		"%s holds a secret, and others than its owner may read it (mode %04o); run: chmod 600 %s", path, mode, path))
}

const howToAddAnApp = `no app is listed. Add one:

apps:
  - key: my-first-app
    secret: at-least-8-Characters
    scopes: [orders.read]`

func (p *fileParser) document(data []byte) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		p.fault(0, "not a text file in UTF-8")
		return
	}
	root, line, err := parseYAML(data)
	if err != nil {
		p.fault(line, "%s", err)
		return
	}
	if root == nil {
		p.fault(0, howToAddAnApp)
		return
	}
	fields, ok := p.mapping(root, "the file", "apps")
	if !ok {
		return
	}
	list, ok := fields["apps"]
	if !ok || list.value.Type() == ast.NullType {
		p.fault(0, howToAddAnApp)
		return
	}
	apps, ok := list.value.(*ast.SequenceNode)
	switch {
	case !ok:
		p.fault(list.line, "apps: must be a list, each entry beginning with \"- key: \"")
	case len(apps.Values) == 0:
		p.fault(0, howToAddAnApp)
	case len(apps.Values) > app.MaxApps:
		p.fault(list.line, "apps: there are %d apps; at most %d are allowed", len(apps.Values), app.MaxApps)
	default:
		for i, n := range apps.Values {
			p.app(i+1, n)
		}
	}
}

// parseYAML returns the one document of data, nil where it is empty. An error
// says no more than its line: the parser's own text shows the source.
func parseYAML(data []byte) (root ast.Node, line int, err error) {
	const broken = "not valid YAML from here on (column %d): look at the indentation, the colons and the quotes"
	defer func() {
		// A file that is read again by a running service must never end it.
		if recover() != nil {
			root, line, err = nil, 0, errors.New("not valid YAML")
		}
	}()
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
			pos := at.GetToken().Position
			return nil, pos.Line, fmt.Errorf(broken, pos.Column)
		}
		return nil, 0, errors.New("not valid YAML")
	}
	for _, d := range f.Docs {
		switch {
		case d.Body == nil:
		case root != nil || d.Body.Type() == ast.DirectiveType:
			return nil, lineOf(d.Body), errors.New("YAML directives and further documents are not read here")
		default:
			root = d.Body
		}
	}
	return root, 0, nil
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// field is one entry of a mapping.
type field struct {
	line  int
	value ast.Node
}

// mapping returns the entries of a mapping and reports those that are not among
// known, or are duplicates. It returns false, and reports, what is no mapping.
func (p *fileParser) mapping(n ast.Node, what string, known ...string) (map[string]field, bool) {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		p.fault(lineOf(n), "%s: must consist of entries with a name and a colon; the names are %s", what, strings.Join(known, ", "))
		return nil, false
	}
	fields := make(map[string]field, len(entries))
	for _, e := range entries {
		line := lineOf(e.Key)
		// What is not a known name is not quoted: it may be a secret.
		name, ok := e.Key.(*ast.StringNode)
		if !ok || !slices.Contains(known, name.Value) {
			p.fault(line, "%s: unknown name before the colon; known are %s", what, strings.Join(known, ", "))
			continue
		}
		if first, twice := fields[name.Value]; twice {
			p.fault(line, "%s: %s: duplicate key, first in line %d", what, name.Value, first.line)
			continue
		}
		fields[name.Value] = field{line, e.Value}
	}
	return fields, true
}
