package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Origin is where the value of a setting came from. A higher one goes first.
type Origin int

// The origins.
const (
	Default Origin = iota
	File
	Env
	Flag
)

// String is default, file, env or flag.
func (o Origin) String() string { return [...]string{"default", "file", "env", "flag"}[o] }

// Setting is one setting as it is in effect, for people to read.
type Setting struct {
	Name   string // of the flag, without dashes
	Value  string // "(secret)" for one that is
	Origin Origin
	// Source is what the user wrote it as: --listen, AUTHSVC_LISTEN,
	// "authsvc.yaml: line 3: listen". Empty for a default.
	Source string
}

// Error is everything that is wrong with the settings, each by the name that the
// user gave it. It quotes no value.
type Error struct{ Faults []string }

// Error is one line for each fault.
func (e *Error) Error() string {
	if len(e.Faults) == 1 {
		return e.Faults[0]
	}
	return fmt.Sprintf("%d faults in the settings:\n  %s", len(e.Faults), strings.Join(e.Faults, "\n  "))
}

// Settings reads the settings. Make one with Register.
type Settings struct {
	all      []*setting
	cfg      Config
	faults   []string
	warnings []string
}

type kind string // as pflag shows it in a usage

const (
	textKind     kind = "string"
	durationKind kind = "duration"
	numberKind   kind = "float"
	boolKind     kind = "bool"
	listKind     kind = "strings"
)

// setting is one setting, and the pflag.Value of its flag. Set only notes what
// was given: pflag would stop at the first fault, and quote the value.
type setting struct {
	name, usage, def  string
	kind              kind
	secret, notInFile bool
	parse             func(values []string) error // of at least one value, checks and keeps it

	flagged []string // by the flag
	values  []string // in effect
	origin  Origin
	source  string
	bad     bool
}

func (st *setting) String() string { return st.def }
func (st *setting) Type() string   { return string(st.kind) }

func (st *setting) Set(text string) error {
	if st.kind != listKind {
		st.flagged = nil
	}
	st.flagged = append(st.flagged, st.split(text)...)
	return nil
}

// split is the values in the text of a flag or a variable.
func (st *setting) split(text string) []string {
	if st.kind != listKind {
		return []string{text}
	}
	values := strings.Split(text, ",")
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	return values
}

// empty reports whether the value is one that stands for none.
func (st *setting) empty() bool { return strings.Join(st.values, "") == "" }

func (st *setting) env() string { return envPrefix + strings.ToUpper(st.key()) }
func (st *setting) key() string { return strings.ReplaceAll(st.name, "-", "_") }

const (
	envPrefix = "AUTHSVC_"
	// fileSuffix makes the variable of a secret the name of a file that holds it.
	fileSuffix = "_FILE"
)

func (s *Settings) add(flags *pflag.FlagSet, st *setting) *setting {
	f := flags.VarPF(st, st.name, "", st.usage)
	if st.kind == boolKind {
		f.NoOptDefVal = "true"
	}
	s.all = append(s.all, st)
	return st
}

// Load puts the settings together, after the flags were parsed. environ is as
// from os.Environ; a variable that is empty counts as not set, because compose
// files pass on what is not set as empty. It is called once.
//
// It fails with an *Error that holds every fault. The warnings are for the log,
// and hold no value of a secret setting.
func (s *Settings) Load(environ []string) (Config, []string, error) {
	env := s.environment(environ)
	config := s.byName("config")
	s.choose(config, env, nil)
	var file map[string]fileValue
	if !config.empty() {
		file = s.readFile(config.values[0], config.source)
	}
	for _, st := range s.all {
		if st != config {
			s.choose(st, env, file)
		}
		if st.bad || st.empty() && st.def == "" {
			continue
		}
		if err := st.parse(st.values); err != nil {
			st.bad = true
			s.fault("%s: %s", s.label(st.name), err)
		}
	}
	s.check()
	if len(s.faults) > 0 {
		return Config{}, s.warnings, &Error{s.faults}
	}
	s.derive()
	return s.cfg, s.warnings, nil
}

// All is every setting as Load found it, in the order of the flags.
func (s *Settings) All() []Setting {
	list := make([]Setting, len(s.all))
	for i, st := range s.all {
		list[i] = Setting{Name: st.name, Value: strings.Join(st.values, ","), Origin: st.origin, Source: st.source}
		if st.secret && !st.empty() {
			list[i].Value = "(secret)"
		}
	}
	return list
}

// environment is the variables that are meant for authsvc. It warns of those that
// are no setting, and no more: Kubernetes sets AUTHSVC_PORT and the like wherever
// a service is called authsvc.
func (s *Settings) environment(environ []string) map[string]string {
	var known []string
	for _, st := range s.all {
		known = append(known, st.env())
		if st.secret {
			known = append(known, st.env()+fileSuffix)
		}
	}
	env := map[string]string{}
	for _, e := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case !strings.HasPrefix(name, envPrefix):
		case !slices.Contains(known, name):
			s.warn("%s: is not a setting%s", name, didYouMean(name, known))
		case value != "":
			env[name] = value
		}
	}
	return env
}

// choose gives a setting the value that goes first.
func (s *Settings) choose(st *setting, env map[string]string, file map[string]fileValue) {
	name := st.env()
	value, inEnv := env[name]
	path, inEnvFile := "", false
	if st.secret {
		path, inEnvFile = env[name+fileSuffix]
	}
	if inEnv && inEnvFile {
		s.fault("%s and %s: both are set; give one of them only", name, name+fileSuffix)
	}
	v, inFile := file[st.key()]
	switch {
	case st.flagged != nil:
		st.values, st.origin, st.source = st.flagged, Flag, "--"+st.name
	case inEnv:
		st.values, st.origin, st.source = st.split(value), Env, name
	case inEnvFile:
		st.origin, st.source = Env, name+fileSuffix
		text, err := readSecret(path)
		if err != nil {
			st.bad = true
			s.fault("%s: %s", st.source, err)
		}
		st.values = []string{text}
	case inFile:
		st.values, st.origin, st.source, st.bad = v.values, File, v.source, v.bad
	default:
		st.values = []string{st.def}
	}
}

// readSecret is what a file holds, without one newline at its end. No error
// quotes the path: the secret itself may have been put in its place.
func readSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("the file it names can't be read: %w", cause(err))
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", errors.New("the file it names is empty")
	}
	return text, nil
}

// cause is what was wrong with a file, without its path.
func cause(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}

func (s *Settings) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *Settings) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

func (s *Settings) byName(name string) *setting {
	i := slices.IndexFunc(s.all, func(st *setting) bool { return st.name == name })
	return s.all[i]
}

// given reports whether a setting has a value that is not the default, good or bad.
func (s *Settings) given(name string) bool {
	st := s.byName(name)
	return st.origin != Default && (st.bad || !st.empty())
}

// good reports whether settings have values that can be relied on.
func (s *Settings) good(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return s.byName(name).bad })
}

// label is what the user knows a setting by.
func (s *Settings) label(name string) string {
	if st := s.byName(name); st.source != "" {
		return st.source
	}
	return "--" + name
}

// didYouMean is a question after the nearest of some names, or empty.
func didYouMean(name string, known []string) string {
	best, least := "", 3 // further off, it is no misspelling
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is how many characters must be put in, left out or changed to make a
// into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
