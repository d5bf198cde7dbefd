package cli

import (
	"cmp"
	_ "embed"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// buildInfo is what this binary was built from; all but the version is empty where the
// build did not say.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Time     string `json:"time"`
	Modified bool   `json:"modified"` // the revision was not all
	Go       string `json:"go"`
}

// treeVersion is the version of this tree, with a line break: the one place where it is set.
//
//go:embed VERSION
var treeVersion string

// version, if it is to differ from that of the tree, and revision are stamped with
// -ldflags "-X authsvc/internal/cli.version=..." where the sources are built without
// their repository, as in an image.
var version, revision string

func readBuildInfo() buildInfo {
	b := buildInfo{Version: cmp.Or(version, strings.TrimSpace(treeVersion)), Revision: revision}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// versionCommand returns authsvc version.
func versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "version",
		Short:   "Show the version",
		Example: "  authsvc version\n  authsvc version -o json | jq -r .revision",
		Args:    cobra.NoArgs,
	}
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		b := readBuildInfo()
		return out.print(c, b, func(w io.Writer) {
			fmt.Fprintf(w, "authsvc %s\n", b.Version)
			at := b.Time
			if b.Modified {
				at += ", changed since"
			}
			if at != "" {
				at = " (" + at + ")"
			}
			if b.Revision != "" {
				fmt.Fprintf(w, "revision %s%s\n", b.Revision, at)
			}
			fmt.Fprintf(w, "built with %s\n", b.Go)
		})
	}
	return c
}
