package pagetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"authsvc/internal/redistest"
)

// patience is the timeout of a page. It is long because a page that works does not use
// it up.
const patience = 15 * time.Minute

// Block is a fenced block of a page.
type Block struct {
	at     string // page:line of its fence
	kind   string
	text   string
	before string // the paragraph before it
}

// Read returns the blocks of a page, and fails the test if they do not follow the
// convention.
func Read(t *testing.T, page string) []Block {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []Block
	var open *Block
	var paragraph string
	for i, line := range strings.Split(string(data), "\n") {
		fence := strings.HasPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &Block{at: fmt.Sprintf("%s:%d", filepath.Base(page), i+1), kind: line[3:], before: paragraph}
		case fence:
			blocks = append(blocks, *open)
			open, paragraph = nil, ""
		case open != nil:
			open.text += line + "\n"
		case line == "" && !strings.HasSuffix(paragraph, "\n"):
			paragraph += "\n" // its end, unless more follows
		case line != "":
			if strings.HasSuffix(paragraph, "\n") {
				paragraph = ""
			}
			paragraph += line + " "
		}
	}
	if open != nil {
		t.Fatalf("%s: the block is not closed", open.at)
	}
	for i, b := range blocks {
		switch {
		case b.kind == "sh", b.edits() != "":
		case b.kind == "output" && i > 0 && blocks[i-1].kind == "sh":
		case b.kind == "text" && strings.Contains(b.before, "(No test runs this block"):
		default:
			t.Errorf("%s: %q is neither sh, nor diff FILE, nor output after sh, nor text after \"(No test runs this block: ...)\"", b.at, b.kind)
		}
	}
	return blocks
}

// edits returns the file that the block edits, or "".
func (b Block) edits() string {
	file, _ := strings.CutPrefix(b.kind, "diff ")
	if file == b.kind {
		return ""
	}
	return file
}

// Then returns the blocks with a command after each one that is run. The command must
// print nothing.
func Then(blocks []Block, command string) []Block {
	blocks = slices.Clone(blocks)
	for i, b := range blocks {
		if b.kind == "sh" {
			blocks[i].text += command + "\n"
		}
	}
	return blocks
}

// ending kills what the blocks started, and waits for it. A second signal makes authsvc
// stop waiting for balancers.
const ending = `trap 'while jobs=$(jobs -pr) && [ -n "$jobs" ]; do kill $jobs 2>/dev/null || true; sleep 0.1; done' EXIT`

// Run runs the blocks in one bash, in the directory work, with these environment
// variables, and compares their output. The test fails if a block fails, or if one of
// their logs (*.log) reports a data race.
func Run(t *testing.T, work string, blocks []Block, env ...string) {
	t.Helper()
	outputs := t.TempDir()
	output := func(i int) string { return filepath.Join(outputs, strconv.Itoa(i)) }
	script := "set -euo pipefail\n" + ending + "\n"
	for i, b := range blocks {
		switch {
		case b.kind == "sh":
			script += fmt.Sprintf("exec >'%s' 2>&1\n%s", output(i), b.text)
		case b.edits() != "":
			script += fmt.Sprintf(handEdit, output(i), b.text, i)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-c", script)
	cmd.Dir = work
	cmd.Env = append(append(ports(t, blocks), "HOME="+work, "LANG=C.UTF-8"), env...)
	// A separate process group, so that everything it started can be killed with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	defer editor(t, cmd, work, func(i int) (file, diff string) {
		text, err := os.ReadFile(output(i))
		if err != nil {
			t.Error(err)
		}
		return blocks[i].edits(), string(text)
	})()
	runErr := cmd.Run()

	last := 0
	for i, b := range blocks {
		got, err := os.ReadFile(output(i))
		if err != nil {
			continue // not sh, or not reached
		}
		last = i
		if i+1 == len(blocks) || blocks[i+1].kind != "output" {
			continue
		}
		text := strings.TrimSuffix(strings.ReplaceAll(string(got), "\r\n", "\n"), "\n") + "\n"
		if want := blocks[i+1]; !Pattern(want.text).MatchString(text) {
			t.Errorf("%s: the block prints\n%s\nand the page shows, at %s,\n%s", b.at, text, want.at, want.text)
		}
	}
	if runErr != nil {
		got, _ := os.ReadFile(output(last))
		t.Errorf("%s: %v; the block prints\n%s", blocks[last].at, runErr, got)
	}
	logs, _ := filepath.Glob(work + "/*.log")
	for _, path := range logs {
		log, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(string(log), "DATA RACE") {
			t.Errorf("data race:\n%s", log)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), log)
		}
	}
}

// Pattern returns a pattern that matches what a page shows as output, with its "..." as
// the package comment says.
func Pattern(shown string) *regexp.Regexp {
	var p strings.Builder
	for line := range strings.Lines(shown) {
		if line == "...\n" {
			p.WriteString(`(?:[^\n]*\n)*`)
			continue
		}
		p.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `[^\n]*`))
	}
	return regexp.MustCompile(`^` + p.String() + `$`)
}

var portVariable = regexp.MustCompile(`\$\{([A-Z0-9_]*PORT[0-9]*):-[0-9]+\}`)

// ports returns settings of the variables from which the blocks take ports.
func ports(t *testing.T, blocks []Block) []string {
	t.Helper()
	var names, env []string
	for _, b := range blocks {
		if b.kind != "sh" {
			continue
		}
		for _, m := range portVariable.FindAllStringSubmatch(b.text, -1) {
			if !slices.Contains(names, m[1]) {
				names = append(names, m[1])
				env = append(env, m[1]+"="+redistest.FreePort(t))
			}
		}
	}
	return env
}
