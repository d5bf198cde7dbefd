package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// output is the flag -o of a command that prints data: text for people, or JSON
// for programs. A name in the JSON never changes, and is never left out; the text may
// change at any time.
type output string

func outputFlag(c *cobra.Command) *output {
	o := output("text")
	c.Flags().VarP(&o, "output", "o", "print text or `json`")
	complete(c, "output", "text", "json")
	return &o
}

func (o *output) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *output) Type() string { return "string" }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("must be text or json")
	}
	*o = output(s)
	return nil
}

func (o *output) json() bool { return *o == "json" }

// print prints data as JSON, or else what text writes, with columns aligned at its tabs.
func (o *output) print(c *cobra.Command, data any, text func(w io.Writer)) error {
	if o.json() {
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(data)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

// complete sets the values that a shell offers for a flag.
func complete(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was defined by the caller
	}
}

// ago returns how far a time is from now: "3 min ago" or "in 2 h".
func ago(t, now time.Time) string {
	if t.After(now) {
		return "in " + roughly(t.Sub(now))
	}
	return roughly(now.Sub(t)) + " ago"
}

// roughly returns a duration in the unit that suits it, rounded.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d.Round(time.Second)/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d.Round(time.Minute)/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%d h", d.Round(time.Hour)/time.Hour)
	default:
		return fmt.Sprintf("%d days", d.Round(day)/day)
	}
}

// count returns "1 fault" or "2 faults".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// printable returns an untrusted text without characters that would move the cursor of a
// terminal, cut before it fills the screen.
func printable(s string) string {
	if len(s) > 1000 {
		s = s[:1000] + "..."
	}
	return strings.ReplaceAll(printableLines(s), "\n", "?")
}

// printableLines is like printable, for a text of several lines of any length.
func printableLines(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) || r == '\n' {
			return r
		}
		return '?'
	}, s)
}

// statusText returns a status as a person reads it: "405 Method Not Allowed".
func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}
