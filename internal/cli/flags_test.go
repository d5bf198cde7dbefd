package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const root = "../.."

// flagsOf returns the flags that a text about each command may name, by its path.
func flagsOf() map[string][]string {
	all := map[string][]string{}
	for _, c := range commands(rootCommand(Env{})) {
		names := append([]string{"help"}, ofOthers...)
		add := func(f *pflag.Flag) { names = append(names, f.Name) }
		c.Flags().VisitAll(add)
		c.InheritedFlags().VisitAll(add)
		all[c.CommandPath()] = names
	}
	return all
}

var (
	// aCommand is authsvc as the first word of a command line, and what follows it.
	aCommand = regexp.MustCompile(`(?:^|[\s"'` + "`" + `(/])authsvc((?:[ \t]+|\\\n[ \t]*)(?:[^|;&\n` + "`" + `)\\]|\\\n|\\.)+)`)
	aFlag    = regexp.MustCompile(`(?:^|[\s"'` + "`" + `(\[])--([a-z][a-z0-9-]*)`)
	// aProgram is one that has flags of its own.
	aProgram = regexp.MustCompile(`\b(docker|redis-cli|redis-server|curl|systemctl|journalctl)\b`)
	aSpan    = regexp.MustCompile("`(--[^`]*)`")

	// ofOthers are flags of other programs that stand alone in a text.
	ofOthers = []string{
		"data-urlencode",                                                        // curl
		"askpass", "cluster", "cluster-slave", "pattern", "scan", "tls", "user", // redis-cli
	}
)

// commandOf returns the path of the command that words after authsvc name: as many of
// them as are commands.
func commandOf(words string) *cobra.Command {
	c := rootCommand(Env{})
	for _, w := range strings.Fields(words) {
		i := slices.IndexFunc(c.Commands(), func(sub *cobra.Command) bool { return sub.Name() == w })
		if i < 0 {
			break
		}
		c = c.Commands()[i]
	}
	return c
}

// wrongInCommands checks the flags of each command line of authsvc in a text. It
// returns the text without them.
func wrongInCommands(text string, flags map[string][]string) (wrong []string, rest string) {
	rest = aCommand.ReplaceAllStringFunc(text, func(line string) string {
		words := aCommand.FindStringSubmatch(line)[1]
		c := commandOf(words)
		if c.HasSubCommands() {
			return line // a sentence, or a group of commands
		}
		for _, m := range aFlag.FindAllStringSubmatch(words, -1) {
			if !slices.Contains(flags[c.CommandPath()], m[1]) {
				wrong = append(wrong, c.CommandPath()+" has no --"+m[1])
			}
		}
		return ""
	})
	return wrong, rest
}

// Every flag that a message, a help text or a hint names is one of the command that
// shows it.
func TestMessagesNameFlagsThatExist(t *testing.T) {
	t.Parallel()
	flags, named := flagsOf(), 0
	for path, literals := range literalsOfSources(t) {
		shown := shownBy(path, literals, flags)
		for _, text := range literals {
			wrong, rest := wrongInCommands(text, flags)
			if !aProgram.MatchString(rest) {
				for _, m := range aFlag.FindAllStringSubmatch(rest, -1) {
					named++
					if !slices.Contains(shown, m[1]) {
						wrong = append(wrong, "no command that shows it has --"+m[1])
					}
				}
			}
			for _, w := range wrong {
				t.Errorf("%s: %s: %q", path, w, text)
			}
		}
	}
	if named < 30 {
		t.Errorf("%d flags are named, so the test sees too little", named)
	}
}

// shownBy returns the flags that the texts of a source file may name: those of the
// commands that show them.
func shownBy(path string, literals []string, flags map[string][]string) (shown []string) {
	switch {
	case path == "internal/tokenclient/unreachable.go": // what both have
		return slices.DeleteFunc(slices.Clone(flags["authsvc token get"]), func(name string) bool {
			return !slices.Contains(flags["authsvc healthcheck"], name)
		})
	case strings.HasPrefix(path, "internal/tokenclient/"):
		return flags["authsvc token get"]
	case strings.HasPrefix(path, "internal/keyring/"):
		return slices.Concat(flags["authsvc keys rotate"], flags["authsvc keys drop"])
	case !strings.HasPrefix(path, "internal/cli/"):
		return flags["authsvc serve"]
	}
	for command, names := range flags { // those that the file defines
		name := command[strings.LastIndexByte(command, ' ')+1:]
		if slices.ContainsFunc(literals, func(text string) bool { return text == name || strings.HasPrefix(text, name+" ") }) {
			shown = append(shown, names...)
		}
	}
	if shown == nil { // what several use
		shown = slices.Concat(slices.Collect(maps.Values(flags))...)
	}
	return shown
}

// literalsOfSources returns the strings in each source file of the command, by its path.
func literalsOfSources(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (strings.HasSuffix(path, "test") || e.Name() == "docsgen" || e.Name() == "testreport"):
			return fs.SkipDir // not in the command
		case !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		path, _ = filepath.Rel(root, path)
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, _ := strconv.Unquote(lit.Value)
				all[path] = append(all[path], text)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every command line of authsvc in the documents and the files for an installation has
// flags of that command; every flag that stands for itself in a text is one of some
// command.
func TestDocsNameFlagsThatExist(t *testing.T) {
	t.Parallel()
	flags, named := flagsOf(), 0
	some := slices.Concat(slices.Collect(maps.Values(flags))...)
	check := func(path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wrong, rest := wrongInCommands(string(b), flags)
		for _, span := range aSpan.FindAllStringSubmatch(rest, -1) {
			for _, m := range aFlag.FindAllStringSubmatch(span[1], -1) {
				named++
				if !slices.Contains(some, m[1]) {
					wrong = append(wrong, "no command has --"+m[1])
				}
			}
		}
		for _, w := range wrong {
			t.Errorf("%s: %s", path, w)
		}
	}
	for _, file := range []string{"README.md", "docker-compose.yml", "Makefile"} {
		check(filepath.Join(root, file))
	}
	for _, dir := range []string{"docs", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				check(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if named < 30 {
		t.Errorf("%d flags are named, so the test sees too little", named)
	}
}
