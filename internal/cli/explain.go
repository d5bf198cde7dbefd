package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	apierr "authsvc/internal/errors"
	"authsvc/internal/tokenclient"
)

// explainCommand returns authsvc explain.
func explainCommand(env Env) *cobra.Command {
	var lang string
	var status int
	c := &cobra.Command{
		Use:   "explain [CODE | -]",
		Short: "Explain an error code, or an error answer",
		Long: `Explains an error code of the gateway's table: its cause, and what to do. A code
can stand for several failures; all are explained, or only the one that matches
the status and the message, where these are known.

With - it reads an error answer, as JSON, from standard input. Without an argument
it lists the table. It needs no server.`,
		Example: `  authsvc explain APIG.2208
  authsvc explain 0201 --status 413 --lang zh
  curl -s https://auth.example.com/oauth/token -d grant_type=password | authsvc explain -`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var codes []string
			for r := range apierr.All() {
				if len(args) == 0 {
					codes = append(codes, r.Code()+"\t"+r.Message())
				}
			}
			return codes, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVar(&lang, "lang", "", "`en` or zh (default: zh where LC_ALL, LC_MESSAGES or LANG is Chinese, else en)")
	c.Flags().IntVar(&status, "status", 0, "HTTP `status` of the answer, for a code that has several")
	complete(c, "lang", "en", "zh")
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		l, err := language(lang, env)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return listCodes(c, out, l)
		}
		a := answer{code: args[0]}
		if args[0] == "-" {
			if a, err = readAnswer(c.InOrStdin()); err != nil {
				return err
			}
		}
		if status != 0 {
			a.status = status
		}
		rows, err := a.rows()
		if err != nil {
			return err
		}
		var list []explained
		for _, r := range rows {
			list = append(list, explain(r, l))
		}
		return out.print(c, list, func(w io.Writer) {
			for i, e := range list {
				if i > 0 {
					fmt.Fprintln(w)
				}
				e.write(w, l)
				a.write(w, l)
			}
		})
	}
	return c
}

func listCodes(c *cobra.Command, out *output, l apierr.Lang) error {
	var list []explained
	for r := range apierr.All() {
		list = append(list, explain(r, l))
	}
	return out.print(c, list, func(w io.Writer) {
		for _, e := range list {
			fmt.Fprintf(w, "%s\t%d\t%s\n", e.Code, e.Status, e.Message)
		}
	})
}

// language returns the language of the flag, or else that of the terminal: the first
// of the variables that is set decides (POSIX).
func language(flag string, env Env) (apierr.Lang, error) {
	switch flag {
	case "zh":
		return apierr.Chinese, nil
	case "en":
		return apierr.English, nil
	case "":
		locale := cmp.Or(env.value("LC_ALL"), env.value("LC_MESSAGES"), env.value("LANG"))
		if strings.HasPrefix(strings.ToLower(locale), "zh") {
			return apierr.Chinese, nil
		}
		return apierr.English, nil
	}
	return 0, errors.New("--lang must be en or zh")
}

// explained is a row of the table in one language. Its names in JSON are those of the
// service's error pages.
type explained struct {
	Code    string `json:"error_code"`
	Status  int    `json:"http_status"`
	Message string `json:"error_msg"`
	OAuth   string `json:"error"`
	Cause   string `json:"cause"`
	Fix     string `json:"fix"`
}

func explain(r apierr.Row, l apierr.Lang) explained {
	return explained{r.Code(), r.Status(), r.Message(), r.OAuthName(), r.Cause(l), r.Fix(l)}
}

// labels are the words around an explanation.
var labels = map[apierr.Lang]struct{ cause, fix, said, id string }{
	apierr.English: {"Cause: ", "Fix: ", "The service says: ", "Request id: "},
	apierr.Chinese: {"原因：", "解决办法：", "服务说明：", "请求 ID："},
}

func (e explained) write(w io.Writer, l apierr.Lang) {
	fmt.Fprintf(w, "%s  HTTP %d  %s\n%s\n", e.Code, e.Status, e.OAuth, e.Message)
	fmt.Fprintf(w, "  %s%s\n  %s%s\n", labels[l].cause, e.Cause, labels[l].fix, e.Fix)
}

// answer is an error answer. Every field but code may be empty.
type answer struct {
	code, message string
	status        int
	hint          string // error_description, which knows the request itself
	requestID     string
}

// readAnswer reads an error answer. No error quotes it: it may hold tokens.
func readAnswer(r io.Reader) (answer, error) {
	data, err := io.ReadAll(io.LimitReader(r, tokenclient.MaxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	var m map[string]any
	if json.Unmarshal(data, &m) != nil {
		return answer{}, errors.New("standard input is not an error answer of the service: it must be one JSON object. Leave out the headers (curl -s, without -i)")
	}
	a := answerOf(m)
	if a.code == "" {
		return answer{}, errors.New("standard input is not an error answer of the service: it has no error_code")
	}
	return a, nil
}

func answerOf(m map[string]any) answer {
	text := func(name string) string {
		s, _ := m[name].(string)
		return printable(s)
	}
	a := answer{code: text("error_code"), message: text("error_msg"), hint: text("error_description"), requestID: text("request_id")}
	for _, name := range []string{"http_status", "status"} {
		if n, ok := m[name].(float64); ok {
			a.status = int(n)
		}
	}
	return a
}

// rows returns the rows that the answer can stand for: those of its code, narrowed to its
// status and its message if any have them.
func (a answer) rows() ([]apierr.Row, error) {
	rows := apierr.ByCode(a.code)
	if len(rows) == 0 {
		return nil, fmt.Errorf("there is no error code %s. The closest are:\n%sauthsvc explain lists them all", printable(a.code), near(a.code))
	}
	narrow := func(fits func(apierr.Row) bool) {
		some := slices.DeleteFunc(slices.Clone(rows), func(r apierr.Row) bool { return !fits(r) })
		if len(some) > 0 {
			rows = some
		}
	}
	narrow(func(r apierr.Row) bool { return r.Status() == a.status })
	narrow(func(r apierr.Row) bool { return r.Message() == a.message })
	return rows, nil
}

// row returns the row that the answer stands for, if it is an answer of the service.
func (a answer) row() (apierr.Row, bool) {
	rows, err := a.rows()
	if err != nil {
		return 0, false
	}
	return rows[0], true
}

// write writes what the answer itself adds to the row.
func (a answer) write(w io.Writer, l apierr.Lang) {
	if a.hint != "" {
		fmt.Fprintf(w, "  %s%s\n", labels[l].said, a.hint)
	}
	if a.requestID != "" {
		fmt.Fprintf(w, "  %s%s\n", labels[l].id, a.requestID)
	}
}

// near lists the codes closest to one that does not exist: by the number of digits
// that differ, and then by distance.
func near(code string) string {
	digits := strings.TrimPrefix(strings.ToUpper(code), "APIG.")
	number, _ := strconv.Atoi(digits)
	far := func(r apierr.Row) (differ, distance int) {
		own := strings.TrimPrefix(r.Code(), "APIG.")
		for i := range own {
			if i >= len(digits) || own[i] != digits[i] {
				differ++
			}
		}
		n, _ := strconv.Atoi(own)
		return differ, max(n-number, number-n)
	}
	rows := slices.SortedStableFunc(apierr.All(), func(a, b apierr.Row) int {
		ad, an := far(a)
		bd, bn := far(b)
		return cmp.Or(cmp.Compare(ad, bd), cmp.Compare(an, bn))
	})
	var b strings.Builder
	for _, r := range rows[:4] {
		fmt.Fprintf(&b, "  %s  %d  %s\n", r.Code(), r.Status(), r.Message())
	}
	return b.String()
}
