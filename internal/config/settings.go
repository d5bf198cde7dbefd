package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"authsvc/internal/wholefile"
)

// Origin is where the value of a setting came from. A higher one takes precedence.
type Origin int

// The origins.
const (
	Default Origin = iota
	File
	Env
	Flag
)

// String returns default, file, env or flag.
func (o Origin) String() string { return [...]string{"default", "file", "env", "flag"}[o] }

// Setting describes the effective value of one setting, for people to read.
type Setting struct {
	Name   string // of the flag, without dashes
	Value  string // "(secret)" for a secret
	Origin Origin
	// Source is where the user set it: --listen, AUTHSVC_LISTEN,
	// "authsvc.yaml: line 3: listen". Empty for a default.
	Source string
}

// Error holds everything that is wrong with the settings, each named as the user set
// it. It quotes no value.
type Error struct{ Faults []string }

// Error returns one line for each fault.
func (e *Error) Error() string {
	if len(e.Faults) == 1 {
		return e.Faults[0]
	}
	return fmt.Sprintf("%d faults in the settings:\n  %s", len(e.Faults), strings.Join(e.Faults, "\n  "))
}

// Settings reads the settings. Register returns one.
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

// setting is one setting, and the pflag.Value of its flag. Set only records what was
// given: pflag would stop at the first fault, and quote the value.
type setting struct {
	name, usage, def  string
	kind              kind
	secret, notInFile bool
	parse             func(values []string) error // checks and stores the values, at least one

	flagged []string // given with the flag
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

// split returns the values in the text of a flag or a variable.
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

// empty reports whether the setting has no value.
func (st *setting) empty() bool { return strings.Join(st.values, "") == "" }

func (st *setting) env() string { return envPrefix + strings.ToUpper(st.key()) }
func (st *setting) key() string { return strings.ReplaceAll(st.name, "-", "_") }

const (
	envPrefix = "AUTHSVC_"
	// fileSuffix makes the name of a secret's variable that of one for its file's path.
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

// Load returns the settings, once the flags have been parsed, and warnings for the log,
// which hold no value of a secret setting. environ has the form of os.Environ. An empty
// variable counts as not set, because compose files pass on unset variables as empty
// ones. Load must be called only once. Its error is an *Error with every fault.
func (s *Settings) Load(environ []string) (Config, []string, error) {
	env := s.environment(environ)
	config := s.byName("config")
	s.choose(config, env, nil)
	var file map[string]fileValue
	if !config.empty() {
		file = s.readFile(config.values[0], config.source)
		s.cfg.Files = append(s.cfg.Files, config.values[0])
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

// All returns every setting as Load found it, in the order of the flags.
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

// environment returns the variables that are meant for authsvc. One that is not a
// setting only causes a warning: Kubernetes sets AUTHSVC_PORT and the like wherever a
// service is named authsvc.
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

// choose gives a setting the value that takes precedence.
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
		s.cfg.Files = append(s.cfg.Files, path)
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

// maxSecretFile is the maximum size of a file that holds the value of a setting, in bytes.
const maxSecretFile = 64 << 10

// readSecret returns the content of a file, without one trailing newline. No error
// quotes the path: it may be the secret itself, put in the wrong place.
func readSecret(path string) (string, error) {
	data, err := wholefile.Read(path, maxSecretFile)
	if err != nil {
		return "", fmt.Errorf("the file it names can't be read: %w", cause(err))
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", errors.New("the file it names is empty")
	}
	return text, nil
}

// cause returns what was wrong with a file, without its path.
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

// given reports whether a setting was given a value, good or bad.
func (s *Settings) given(name string) bool {
	st := s.byName(name)
	return st.origin != Default && (st.bad || !st.empty())
}

// good reports whether none of the settings has a bad value.
func (s *Settings) good(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return s.byName(name).bad })
}

// label returns what the user calls a setting.
func (s *Settings) label(name string) string {
	if st := s.byName(name); st.source != "" {
		return st.source
	}
	return "--" + name
}

// didYouMean returns a question that suggests the closest of the known names, or "".
func didYouMean(name string, known []string) string {
	best, least := "", 3 // farther away, it is not a typo
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

// distance returns how many characters must be inserted, deleted or replaced to turn a
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
