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

// Replace puts text in the place of an apps file, whole or not at all. It fails as
// Read does where serve would not take the text, and as app.Registry.Replace does
// where a server that runs with the file as it is would not. The warnings of the
// File that it returns are for people.
func Replace(path string, pepper app.Pepper, text []byte) (File, error) {
	return rewrite(path, pepper, func([]byte) ([]byte, error) { return text, nil })
}

// Add adds an app to the end of an apps file, whose text stays as it is. It fails as
// Replace does. Of the app it writes key, name, hash, scopes and roles.
func Add(path string, pepper app.Pepper, a app.App) (File, error) {
	return rewrite(path, pepper, func(was []byte) ([]byte, error) {
		// The first dash is one of the list: the file is valid, and has nothing else.
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
		// Where it is bad as it is, there is no server that knows more.
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
		text, err := json.Marshal(value) // which is YAML, and never a number or a truth value
		if err != nil {
			panic(err) // texts and lists of texts can't fail
		}
		fmt.Fprintf(&b, "%s%s%s: %s\n", indent, lead, name, strings.ReplaceAll(string(text), `","`, `", "`))
	}
	line("key", a.Key)
	if a.Name != "" {
		line("name", a.Name)
	}
	line("secret_hash", a.Secrets[0].Hash.String()) // the file has one for an app
	if len(a.Scopes) > 0 {
		line("scopes", a.Scopes)
	}
	if len(a.Roles) > 0 {
		line("roles", a.Roles)
	}
	return b.String()
}

// Format returns the text of an apps file with these apps, as Add writes them.
func Format(apps ...app.App) []byte {
	text := "apps:\n"
	for i := range apps {
		text += entryOf(&apps[i], "  ")
	}
	return []byte(text)
}
