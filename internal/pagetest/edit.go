package pagetest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"authsvc/internal/wholefile"
)

// handEdit is what the script does for an edit by hand: it writes the diff, with the
// variables replaced, into the block's output, and has the editor apply it.
const handEdit = `exec >'%s' 2>&1
cat <<END_OF_DIFF
%sEND_OF_DIFF
echo %d >&3; read -r verdict <&4; [ "$verdict" = edited ] || { echo "$verdict"; exit 1; }
`

// editor serves the edits by hand of the command that is about to run, in the directory
// work. diff returns a block's file and its diff. The function that editor returns ends
// it.
func editor(t *testing.T, cmd *exec.Cmd, work string, diff func(block int) (file, diff string)) (end func()) {
	t.Helper()
	wanted, want, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	verdict, decide, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{want, verdict} // 3 and 4
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(wanted); lines.Scan(); {
			answer := "edited"
			block, err := strconv.Atoi(lines.Text())
			if err == nil {
				file, diff := diff(block)
				err = wholefile.Rewrite(filepath.Join(work, file), func(was []byte) ([]byte, error) {
					now, err := edited(string(was), diff)
					return []byte(now), err
				})
			}
			if err != nil {
				answer = err.Error()
			}
			fmt.Fprintln(decide, answer)
		}
	}()
	return func() {
		for _, f := range []*os.File{wanted, want, verdict, decide} {
			_ = f.Close()
		}
		<-done
	}
}

// edited returns the text after the edit that a diff shows. It fails unless there is
// exactly one place that the diff fits.
func edited(text, diff string) (string, error) {
	have := strings.SplitAfter(text, "\n")
	var old []string
	for line := range strings.Lines(diff) {
		switch line[0] {
		case ' ', '-':
			old = append(old, line[1:])
		case '+':
		default:
			return "", fmt.Errorf("the line %q of the diff begins with none of \" \", - and +", line)
		}
	}
	at, places := 0, 0
	for i := range len(have) - len(old) + 1 {
		if fits(have[i:], old) {
			at = i
			places++
		}
	}
	if places != 1 {
		return "", fmt.Errorf("the diff fits %d places, and must fit one", places)
	}
	now := strings.Join(have[:at], "")
	for line := range strings.Lines(diff) {
		switch line[0] {
		case ' ':
			now += have[at]
			at++
		case '-':
			at++
		case '+':
			now += line[1:]
		}
	}
	return now + strings.Join(have[at:], ""), nil
}

// fits reports whether the lines begin with those shown.
func fits(lines, shown []string) bool {
	for i, line := range shown {
		if !Pattern(line).MatchString(lines[i]) {
			return false
		}
	}
	return true
}
