package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// dir is the directory of the pages, relative to the root of the repository.
const dir = "docs/reference"

// regenerate is the command that writes the pages.
const regenerate = "make docs"

func main() {
	if err := write(dir); err != nil {
		fmt.Fprintln(os.Stderr, "docsgen:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	pages, err := pages()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pages returns the generated pages by file name.
func pages() (map[string]string, error) {
	settings, err := settingsPage()
	if err != nil {
		return nil, fmt.Errorf("the settings: %w", err)
	}
	metrics, err := metricsPage()
	if err != nil {
		return nil, fmt.Errorf("the metrics: %w", err)
	}
	commands, err := commandsPage()
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"commands.md":  commands,
		"settings.md":  settings,
		"metrics.md":   metrics,
		"errors.md":    errorsPage(english),
		"errors.zh.md": errorsPage(chinese),
	}, nil
}
