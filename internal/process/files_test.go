package process

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/config"
	"authsvc/internal/keyring"
	"authsvc/internal/redistest"
	"authsvc/internal/token"
)

// A process that has not read a key yet reads the keyring when it meets the key's
// first token, and answers only then. These two look at the file at no other time.
func TestAnUnknownKeyIsReadBeforeTheVerdict(t *testing.T) {
	t.Parallel()
	target := targetOf(t, redistest.Start(t))
	site := authsvctest.NewSite(t)
	dir := t.TempDir()
	early, late := filepath.Join(dir, "early.json"), filepath.Join(dir, "late.json")
	if err := keyring.New(time.Now().Add(-time.Hour)).CreateFile(early); err != nil {
		t.Fatal(err)
	}
	ahead, err := os.ReadFile(early)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(late, ahead, 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(keys string) (*Process, *bytes.Buffer) {
		var log bytes.Buffer
		p, err := New(Config{
			Settings: config.Config{
				Store: target, StoreTimeout: 5 * time.Second, Apps: site.Apps, Keys: keys,
				AccessTTL: time.Hour, RefreshTTL: time.Hour, RefreshGrace: time.Minute,
			},
			Log: slog.New(slog.NewJSONHandler(&log, nil)), LogLinesDropped: func() uint64 { return 0 },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.close() })
		if err := p.clock.Measure(t.Context(), p.store); err != nil {
			t.Fatal(err)
		}
		return p, &log
	}
	authsvctest.RotateSoon(t, early)
	a, _ := start(early)
	b, log := start(late)
	who, err := a.files.apps.Authenticate(authsvctest.Worker, authsvctest.Secret)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.manager.Issue(t.Context(), who, "", "")
	if err != nil {
		t.Fatal(err)
	}
	inspect := func() token.Inspection {
		i, err := b.manager.Inspect(t.Context(), issued.Access)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if inspect().Reason == nil {
		t.Fatal("the second process knows the key though its file has none")
	}
	if ahead, err = os.ReadFile(early); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(late, ahead, 0o600); err != nil {
		t.Fatal(err)
	}
	settled := time.Now().Add(-time.Minute) // not a file that may be half written
	if err := os.Chtimes(late, settled, settled); err != nil {
		t.Fatal(err)
	}
	// Looks that come too soon after the last are left out: anyone can cause one.
	redistest.Eventually(t, "the token to be taken", func() bool { return inspect().Reason == nil })
	if n := strings.Count(log.String(), "a changed file was reloaded"); n != 1 {
		t.Errorf("the keyring was read %d times, want 1", n)
	}
}
