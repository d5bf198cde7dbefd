package process

import (
	"io"
	"net/http"
	"testing"

	"authsvc/internal/authsvctest"
)

// Profiles are served only with --pprof and only on the admin listener, and the command
// line is not among them.
func TestPprof(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	on, off := site.Serve("memory://", "--pprof"), site.Serve("memory://")
	get := func(url string) (int, string) {
		t.Helper()
		res, err := on.Client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	for _, path := range []string{"heap", "profile?seconds=1", "trace?seconds=1"} {
		path = "/debug/pprof/" + path
		status, body := get(on.Admin + path)
		if status != http.StatusOK || len(body) < 100 || path != "/debug/pprof/trace?seconds=1" && body[:2] != "\x1f\x8b" {
			t.Errorf("%s: %d, %d bytes", path, status, len(body))
		}
		for _, url := range []string{on.URL, off.URL, off.Admin} {
			if status, _ := get(url + path); status != http.StatusNotFound {
				t.Errorf("%s%s: %d, want 404", url, path, status)
			}
		}
	}
	if status, body := get(on.Admin + "/debug/pprof/cmdline"); status != http.StatusNotFound {
		t.Errorf("cmdline: %d %q", status, body)
	}
}
