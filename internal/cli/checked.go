package cli

import (
	"fmt"
	"io"
)

// checked holds what was found in a file or in the settings. Its lists are never nil,
// so that the JSON has no nulls.
type checked struct {
	OK       bool     `json:"ok"`
	Faults   []string `json:"faults"`
	Warnings []string `json:"warnings"`
}

func newChecked(faults, warnings []string) checked {
	return checked{
		OK: len(faults) == 0, Faults: append([]string{}, faults...), Warnings: append([]string{}, warnings...),
	}
}

// write writes one line for each finding.
func (r checked) write(w io.Writer) {
	for _, f := range r.Faults {
		fmt.Fprintln(w, "fault:  ", f)
	}
	for _, x := range r.Warnings {
		fmt.Fprintln(w, "warning:", x)
	}
}
