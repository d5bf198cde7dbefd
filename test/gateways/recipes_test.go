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

// plainPath matches a path, after its first slash, that every gateway and API understands
// alike. All recipes have it, word for word.
const plainPath = `(([-\w~!$&'()*+,=:@]|%(2[0-46-9a-c]|3[ac-f]|40|5[bde]|60|7[b-d]|[89abdef][0-9a-f]|c[2-9a-f]))\.*/?)*`

// including are the recipes that leave the path and the check to the file beside them.
var including = []string{"nginx.conf", "haproxy.cfg"}

// What a recipe that no test here runs must say, so that the API gets what was checked, in
// the name of the caller: the path, our headers in any spelling, the token kept back, the
// hop-by-hop headers.
func TestRecipesNotRun(t *testing.T) {
	t.Parallel()
	anySpelling := `ours[(name:lower():gsub("%W", "-"))]`
	for name, texts := range map[string][]string{
		"kong.yaml": {
			"[[^/" + plainPath + `(\?[^#]*)?$]], "ijo")`, anySpelling, "ngx.req.get_headers(0, true)",
			`kong.service.request.clear_header("Authorization")`, `["x-original-url"] = true, ["x-rewrite-url"] = true`,
		},
		"apisix.yaml": {
			"[[^/" + plainPath + `(\?[^#]*)?$]], "ijo")`, anySpelling, "ngx.req.get_headers(0, true)", "serverless-post-function",
			`require("apisix.core").request.set_header(ctx, "Authorization", nil)`, `["x-original-url"] = true, ["x-rewrite-url"] = true`,
		},
		"envoy.yaml": {
			"/orders/(?i:" + plainPath + ")", anySpelling, "request_headers_to_remove: [authorization]", `["x-original-url"] = true, ["x-rewrite-url"] = true`,
			"normalize_path: true", "merge_slashes: true", "path_with_escaped_slashes_action: REJECT_REQUEST", "headers_with_underscores_action: DROP_HEADER", `headers:replace(":method", "GET")`,
		},
		"traefik.yml": {
			"PathRegexp(`^/orders/(?i:" + plainPath + ")$`)", "middlewares: [before, orders-read, after]", "serversTransport: authsvc", "responseHeaderTimeout: 2s", "aliasHeadersStrategy: delete",
			`Connection: ""`, `Authorization: ""`, `X-Original-URL: ""`, `X-Rewrite-URL: ""`,
		},
	} {
		b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "gateways", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, header := range []string{"X-App-Key", "X-App-Scope", "X-Token-Expires", "X-Through-Data"} {
			if name != "traefik.yml" {
				texts = append(texts, `["`+strings.ToLower(header)+`"] = true`)
				continue
			}
			for _, spelled := range []string{strings.Replace(header, "-", "_", 1), strings.ReplaceAll(header, "-", "_"), header[:strings.LastIndex(header, "-")] + "_" + header[strings.LastIndex(header, "-")+1:]} {
				texts = append(texts, spelled+`: ""`)
			}
		}
		for _, text := range texts {
			if !strings.Contains(string(b), text) {
				t.Errorf("%s does not contain %s", name, text)
			}
		}
	}
}

// The pattern, wherever a recipe has it, lets the same paths pass as the gateways that are
// run here.
func TestPlainPath(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile("(?i)^/" + plainPath + `(\?[^#]*)?$`)
	for _, a := range paths() {
		target, _, _ := strings.Cut(strings.TrimPrefix(a.text, "GET "), " HTTP/")
		plain := pattern.MatchString(target) && strings.HasPrefix(target, "/orders/")
		if want := a.want == passed; plain != want {
			t.Errorf("%s: passes: %t; want %t", a.name, plain, want)
		}
	}
	entries, err := os.ReadDir(filepath.Join("..", "..", "deploy", "gateways"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "gateways", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), plainPath) && !slices.Contains(including, e.Name()) {
			t.Errorf("%s does not have the pattern", e.Name())
		}
	}
}

// nginx counts whole seconds: an answer that is cached for four may be used for just less
// than five, which is what its recipe and docs/gateways.md say.
func TestNginxCacheIsDocumented(t *testing.T) {
	t.Parallel()
	for file, text := range map[string]string{
		"deploy/gateways/nginx-authsvc.conf": "proxy_cache_valid 200 4s;",
		"deploy/gateways/nginx.conf":         "a good answer is cached for 4 s",
		"docs/gateways.md":                   "| within 5 s; without its cache, with the next call |",
	} {
		b, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), text) {
			t.Errorf("%s does not say %q", file, text)
		}
	}
}

// Every recipe is either run by a test here or says at its top that it is not; and
// authsvc accepts each recipe's request to /oauth/verify.
func TestRecipes(t *testing.T) {
	t.Parallel()
	ran := []string{"nginx.conf", "nginx-authsvc.conf", "Caddyfile", "apache.conf", "haproxy.cfg", "haproxy-authsvc.lua"}
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
		if len(found) == 0 && e.Name() != "apache.conf" && !slices.Contains(including, e.Name()) {
			t.Errorf("%s does not call /oauth/verify", e.Name())
		}
		for _, uri := range found {
			query := strings.NewReplacer("$authsvc_scope", "orders.read", "{args[0]}", "orders.read", "%s", "orders.read").Replace(strings.TrimPrefix(uri, "/oauth/verify"))
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
