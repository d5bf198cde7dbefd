package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"authsvc/internal/strictyaml"
	"authsvc/internal/wholefile"
)

// fileValue is a setting in the file.
type fileValue struct {
	values []string
	source string // "authsvc.yaml: line 3: listen"
	bad    bool   // has the wrong type, which was reported
}

// readFile returns the settings in a YAML file by key, and reports its faults. from says
// where the file was named.
func (s *Settings) readFile(path, from string) map[string]fileValue {
	data, err := wholefile.Read(path, strictyaml.MaxSize)
	if err != nil {
		s.fault("%s: %s can't be read: %s", from, path, cause(err))
		return nil
	}
	root, fault := strictyaml.Parse(data)
	if fault != nil {
		s.fault("%s: %s", at(path, fault.Line), fault.Text)
		return nil
	}
	switch root.Kind() {
	case strictyaml.None:
		return nil // no settings; the defaults may be enough
	case strictyaml.Map:
	default:
		s.fault("%s: must consist of settings, each with a name and a colon", at(path, root.Line()))
		return nil
	}
	var keys []string
	for _, st := range s.all {
		if !st.notInFile {
			keys = append(keys, st.key())
		}
	}
	fields, faults := root.Fields(keys, func(key string) string {
		switch {
		case key == "":
			return "a key must be the name of a setting"
		case !plain(key):
			return "this key is not a setting" + didYouMean(key, keys)
		}
		return key + " is not a setting" + didYouMean(key, keys)
	})
	file := map[string]fileValue{}
	for _, st := range s.all {
		f, given := fields[st.key()]
		if !given {
			continue
		}
		v := fileValue{source: at(path, f.Line()) + ": " + st.key()}
		if v.values, err = valuesOf(f.Value, st.kind); err != nil {
			v.bad = true
			faults = append(faults, strictyaml.Fault{Line: f.Line(), Text: st.key() + ": " + err.Error()})
		}
		file[st.key()] = v
	}
	slices.SortStableFunc(faults, func(a, b strictyaml.Fault) int { return cmp.Compare(a.Line, b.Line) })
	for _, f := range faults {
		s.fault("%s: %s", at(path, f.Line), f.Text)
	}
	return file
}

// plain reports whether a key looks like the name of a setting. One that does not is
// never shown: it may be part of a secret.
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

// valuesOf returns the values of a setting of a kind.
func valuesOf(v strictyaml.Value, k kind) ([]string, error) {
	switch got := v.Kind(); {
	case got == strictyaml.Null, got == strictyaml.Other:
		_, err := v.Text()
		return nil, err
	case k == boolKind && got == strictyaml.Bool,
		k == numberKind && (got == strictyaml.Int || got == strictyaml.Float):
		return []string{v.Source()}, nil
	case k == listKind && got == strictyaml.List:
		values := []string{}
		for _, item := range v.Items() {
			if item.Kind() != strictyaml.Text {
				return nil, errors.New("must be a list of texts: put each in quotes")
			}
			text, _ := item.Text()
			values = append(values, text)
		}
		return values, nil
	case (k == textKind || k == durationKind) && got == strictyaml.Text:
		text, err := v.Text()
		return []string{text}, err
	}
	return nil, errors.New(map[kind]string{
		boolKind:     "must be true or false, without quotes",
		listKind:     "must be a list, such as [one, two]",
		durationKind: "must be a duration with a unit, as in 300ms, 90s or 1h",
		numberKind:   "must be a number, without quotes",
		textKind:     "must be text: put it in quotes",
	}[k])
}
