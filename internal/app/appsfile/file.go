package appsfile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"authsvc/internal/app"
	"authsvc/internal/strictyaml"
	"authsvc/internal/wholefile"
)

const (
	maxNameLen    = 200 // characters
	maxFaultsText = 100 // faults that Error.Error writes out
)

// File holds what an apps file says.
type File struct {
	Apps []app.App
	// Exposed are the files that hold a plaintext secret and can be read by others
	// besides their owner.
	Exposed []Exposed
	// SecretFiles are the files that the apps file names.
	SecretFiles []string
}

// Exposed is a file with a secret, and the mode that lets others read it.
type Exposed struct {
	Path string
	Mode fs.FileMode
}

// Error holds everything that is wrong with an apps file. It never quotes a value that
// may be a secret, even a misplaced one: a line number is enough.
type Error struct {
	Path   string
	Faults []string // by line
}

// Error returns one line for each fault, up to a hundred, and the number of the others.
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

// Read reads the apps file and the secret files it names, and hashes the secrets under
// pepper. It returns the operating system's error for the apps file, or an *Error that
// holds every fault.
//
// watch, which may be nil, is called with the path of each of these files just before it
// is read, even if it can't be: a change of one is a change of the apps.
func Read(path string, pepper app.Pepper, watch func(path string)) (File, error) {
	if watch == nil {
		watch = func(string) {}
	}
	watch(path)
	data, mode, err := readRegular(path, strictyaml.MaxSize)
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

// readRegular reads a file, and returns an error if it is longer than limit bytes. It
// refuses a named pipe or a device, which could block or never end.
func readRegular(path string, limit int) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	data, err := wholefile.Read(path, limit)
	return data, info.Mode().Perm(), err
}

// fileParser collects what an apps file says and what is wrong with it.
type fileParser struct {
	path   string
	pepper app.Pepper
	read   func(path string) ([]byte, fs.FileMode, error)
	file   File
	faults []strictyaml.Fault

	lines       map[string]int  // of the key of each app
	seen        map[string]bool // secret files
	holdsSecret bool            // the apps file itself has a plaintext secret
}

// parse is like Read, for a file that has been read.
func parse(path string, data []byte, mode fs.FileMode, pepper app.Pepper, read func(string) ([]byte, fs.FileMode, error)) (File, error) {
	p := &fileParser{path: path, pepper: pepper, read: read, lines: map[string]int{}, seen: map[string]bool{}}
	p.document(data)
	if len(p.faults) > 0 {
		slices.SortStableFunc(p.faults, func(a, b strictyaml.Fault) int { return cmp.Compare(a.Line, b.Line) })
		e := &Error{Path: path}
		for _, f := range p.faults {
			if f.Line > 0 {
				f.Text = fmt.Sprintf("line %d: %s", f.Line, f.Text)
			}
			e.Faults = append(e.Faults, f.Text)
		}
		return File{}, e
	}
	if p.holdsSecret && mode&0o044 != 0 {
		p.file.Exposed = append(p.file.Exposed, Exposed{path, mode})
	}
	return p.file, nil
}

func (p *fileParser) fault(line int, format string, args ...any) {
	p.faults = append(p.faults, strictyaml.Fault{Line: line, Text: fmt.Sprintf(format, args...)})
}

const howToAddAnApp = `no app is listed. Add one:

apps:
  - key: my-first-app
    secret: at-least-8-Characters
    scopes: [orders.read]`

func (p *fileParser) document(data []byte) {
	root, fault := strictyaml.Parse(data)
	if fault != nil {
		p.faults = append(p.faults, *fault)
		return
	}
	if root.Kind() == strictyaml.None {
		p.fault(0, howToAddAnApp)
		return
	}
	fields, ok := p.mapping(root, "the file", "apps")
	if !ok {
		return
	}
	list, ok := fields["apps"]
	if !ok || list.Kind() == strictyaml.Null {
		p.fault(0, howToAddAnApp)
		return
	}
	apps := list.Items()
	switch {
	case list.Kind() != strictyaml.List:
		p.fault(list.Line(), "apps: must be a list, each entry beginning with \"- key: \"")
	case len(apps) == 0:
		p.fault(0, howToAddAnApp)
	case len(apps) > app.MaxApps:
		p.fault(list.Line(), "apps: there are %d apps; at most %d are allowed", len(apps), app.MaxApps)
	default:
		for i, v := range apps {
			p.app(i+1, v)
		}
	}
}

// mapping returns the entries of a mapping, and reports those whose keys are unknown or
// duplicates. If v is not a mapping, it reports that and returns false.
func (p *fileParser) mapping(v strictyaml.Value, what string, known ...string) (map[string]strictyaml.Field, bool) {
	names := strings.Join(known, ", ")
	if v.Kind() != strictyaml.Map {
		p.fault(v.Line(), "%s: must consist of entries with a name and a colon; the names are %s", what, names)
		return nil, false
	}
	// An unknown key is not quoted: it may be a secret.
	fields, faults := v.Fields(known, func(string) string { return "unknown name before the colon; known are " + names })
	for _, f := range faults {
		p.fault(f.Line, "%s: %s", what, f.Text)
	}
	return fields, true
}
