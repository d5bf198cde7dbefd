package appsfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"authsvc/internal/app"
	"authsvc/internal/wholefile"
)

// Replace replaces the content of an apps file, whole or not at all. It returns the error
// of Read if serve would not accept the text, and that of app.Registry.Replace if a server
// that runs with the current file would not. The warnings of the File that it returns are
// for people.
func Replace(path string, pepper app.Pepper, text []byte) (File, error) {
	return rewrite(path, pepper, func([]byte) ([]byte, error) { return text, nil })
}

// Add appends an app to an apps file, whose text is otherwise unchanged. It writes the
// app's key, name, hash, scopes and roles. Its errors are those of Replace.
func Add(path string, pepper app.Pepper, a app.App) (File, error) {
	return rewrite(path, pepper, func(was []byte) ([]byte, error) {
		// The first dash is one of the list: a valid file has nothing else.
		dash := regexp.MustCompile(`(?m)^( *)- `).FindSubmatch(was)
		if dash == nil {
			return nil, fmt.Errorf("%s has no line that begins with a dash, so it can't be added to; write the entry yourself:\n%s", path, entryOf(&a, ""))
		}
		text := strings.TrimRight(string(was), "\n") + "\n" + entryOf(&a, string(dash[1]))
		f, err := parse(path, []byte(text), 0, pepper, readSecretFile)
		if err == nil && f.Apps[len(f.Apps)-1].Key != a.Key {
			err = errors.New("the entry would not be the last of the list")
		}
		return []byte(text), err
	})
}

func rewrite(path string, pepper app.Pepper, edit func(was []byte) ([]byte, error)) (f File, err error) {
	err = wholefile.Rewrite(path, func(was []byte) ([]byte, error) {
		next, err := edit(was)
		if err != nil {
			return nil, err
		}
		if f, err = parse(path, next, 0, pepper, readSecretFile); err != nil {
			return nil, err
		}
		// If the current file is bad, no running server has older generations from it.
		if now, err := parse(path, was, 0, pepper, readSecretFile); err == nil {
			r, err := app.NewRegistry(pepper, now.Apps)
			if err != nil {
				return nil, err
			}
			if err := r.Replace(f.Apps); err != nil {
				return nil, err
			}
		}
		return next, nil
	})
	if wrong := (*Error)(nil); err != nil && !errors.As(err, &wrong) { // it names the file
		err = fmt.Errorf("apps file %s: %w", path, err)
	}
	return f, err
}

// entryOf returns an app as an entry of an apps file, indented: key, name, hash,
// scopes and roles.
func entryOf(a *app.App, indent string) string {
	var b strings.Builder
	line := func(name string, value any) {
		lead := "  "
		if b.Len() == 0 {
			lead = "- "
		}
		text, err := json.Marshal(value) // valid YAML, and never a number or a boolean
		if err != nil {
			panic(err) // strings and lists of strings can't fail
		}
		fmt.Fprintf(&b, "%s%s%s: %s\n", indent, lead, name, strings.ReplaceAll(string(text), `","`, `", "`))
	}
	line("key", a.Key)
	if a.Name != "" {
		line("name", a.Name)
	}
	line("secret_hash", a.Secrets[0].Hash.String()) // the file has only one per app
	if len(a.Scopes) > 0 {
		line("scopes", a.Scopes)
	}
	if len(a.Roles) > 0 {
		line("roles", a.Roles)
	}
	return b.String()
}

// Format returns an apps file with these apps, as Add writes them.
func Format(apps ...app.App) []byte {
	text := "apps:\n"
	for i := range apps {
		text += entryOf(&apps[i], "  ")
	}
	return []byte(text)
}
