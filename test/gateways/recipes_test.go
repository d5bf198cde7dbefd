package gateways

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"authsvc/internal/authsvctest"
)

// Every recipe is either run by a test here or says at its top that it is not; and
// authsvc accepts each recipe's request to /oauth/verify.
func TestRecipes(t *testing.T) {
	t.Parallel()
	ran := []string{"nginx.conf", "nginx-authsvc.conf", "Caddyfile", "apache.conf"}
	entries, err := os.ReadDir(filepath.Join("..", "..", "deploy", "gateways"))
	if err != nil {
		t.Fatal(err)
	}
	s := authsvctest.NewSite(t).Serve("memory://", "--drain", "0s")
	token := s.Issue(authsvctest.Worker).Pair().Access
	asks, seen := regexp.MustCompile(`/oauth/verify\?[^\s;"']*`), 0
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "gateways", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if run, marked := slices.Contains(ran, e.Name()), strings.HasPrefix(string(b), "# NOT RUN HERE: "); run == marked {
			t.Errorf("%s: run by a test: %t; marked as not run: %t", e.Name(), run, marked)
		} else if run {
			seen++
		}
		if strings.HasSuffix(e.Name(), ".yml") || strings.HasSuffix(e.Name(), ".yaml") {
			var any map[string]any
			if err := yaml.Unmarshal(b, &any); err != nil {
				t.Errorf("%s: %v", e.Name(), err)
			}
		}
		found := asks.FindAllString(string(b), -1)
		if len(found) == 0 && e.Name() != "apache.conf" && e.Name() != "nginx.conf" { // which includes nginx-authsvc.conf
			t.Errorf("%s does not call /oauth/verify", e.Name())
		}
		for _, uri := range found {
			query := strings.ReplaceAll(strings.TrimPrefix(uri, "/oauth/verify"), "$authsvc_scope", "orders.read")
			if a := s.Verify(token, query); a.Status != 200 {
				t.Errorf("%s calls %s: %d %s", e.Name(), uri, a.Status, a.Body)
			}
		}
	}
	// A location of nginx that sets no scope sends an empty one.
	if a := s.Verify(token, "?gateway=nginx&scope="); a.Status != 403 || a.Text("error_code") != "APIG.2205" {
		t.Errorf("an empty scope: %d %s", a.Status, a.Body)
	}
	if seen != len(ran) {
		t.Errorf("%d of %d recipes were found", seen, len(ran))
	}
}
