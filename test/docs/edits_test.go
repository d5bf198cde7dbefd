package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"authsvc/internal/app"
	"authsvc/internal/app/appsfile"
	"authsvc/internal/keyring"
)

// edit says how often a page changes the entry of an app.
type edit struct {
	app   string
	times int
}

var editing = map[string]edit{
	"add-an-app.md":        {"orders-batch-01", 1},
	"freeze-an-app.md":     {"billing-worker", 2},
	"revoke-all-tokens.md": {"billing-worker", 1},
	"rotate-a-secret.md":   {"billing-worker", 1},
}

// onlyEdits returns how often the app key changes in the copies of the apps file that a
// page left in dir, which setup and app add began. The test fails if another app of the
// first copy ever changes.
func onlyEdits(t *testing.T, dir, key string) int {
	t.Helper()
	ring, err := keyring.Read(filepath.Join(dir, "work", "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	edits := 0
	var was map[string]app.App
	for step := 1; ; step++ {
		path := filepath.Join(dir, fmt.Sprint(step)+".yaml")
		if _, err := os.Stat(path); err != nil {
			break
		}
		file, err := appsfile.Read(path, ring.Pepper(), nil)
		if err != nil {
			t.Fatal(err)
		}
		now := map[string]app.App{}
		for _, a := range file.Apps {
			now[a.Key] = a
		}
		for k := range was {
			switch same := reflect.DeepEqual(was[k], now[k]); {
			case !same && k == key:
				edits++
			case !same:
				t.Errorf("step %d changes the app %s: from %+v to %+v", step, k, was[k], now[k])
			}
		}
		was = now
	}
	if len(was) < 3 {
		t.Errorf("the page was run with %d apps", len(was))
	}
	return edits
}

var byPattern = regexp.MustCompile(`\b(sed|perl)\s+-\S*i|\bawk\b`)

// No page edits a file by pattern: on a file that looks otherwise than its author
// thought, that edits the wrong entry, or nothing.
func TestNoEditByPattern(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if found := byPattern.Find(data); found != nil {
			t.Errorf("%s: %q", page, found)
		}
	}
}
