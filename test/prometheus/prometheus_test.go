package prometheus

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

const (
	root      = "../.."
	rulesFile = root + "/deploy/prometheus/rules.yml"
	testsFile = root + "/deploy/prometheus/rules_test.yml"
	dashboard = root + "/deploy/grafana/dashboard.json"
	runbooks  = root + "/docs/runbooks"
)

// rule is a rule of rules.yml.
type rule struct {
	Record, Alert, Expr string
	Annotations         map[string]string
	Labels              map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var f struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal(read(t, rulesFile), &f); err != nil {
		t.Fatal(err)
	}
	for _, g := range f.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("%d rules", len(all))
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// promtool accepts the configuration, the rules and their tests.
func TestPromtool(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"},
		{"check", "rules", "rules.yml"},
		{"test", "rules", "rules_test.yml"},
	} {
		cmd := exec.Command(redistest.Program(t, "promtool"), args...)
		cmd.Dir = filepath.Dir(rulesFile)
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "FAILED") {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert has a test case in which it first does not fire, and then does, with its
// severity.
func TestEachAlertIsTested(t *testing.T) {
	t.Parallel()
	var f struct {
		Tests []struct {
			Questions []struct {
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	if err := yaml.Unmarshal(read(t, testsFile), &f); err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		fires := false
		for _, c := range f.Tests {
			silent := false
			for _, q := range c.Questions {
				found := false
				for _, s := range q.Samples {
					found = found || strings.Contains(s.Labels, `alertname="`+r.Alert+`"`) && strings.Contains(s.Labels, `severity="`+r.Labels["severity"]+`"`)
				}
				fires = fires || silent && found
				silent = silent || !found
			}
		}
		if !fires {
			t.Errorf("%s: %s has no case in which it first does not fire, and then does", r.Alert, filepath.Base(testsFile))
		}
	}
}

// Each alert has a page, each page has an alert, and the index lists all of them.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	index := string(read(t, runbooks+"/README.md"))
	var want []string
	for _, r := range rules(t) {
		if r.Alert == "" || slices.Contains(want, r.Alert+".md") {
			continue
		}
		want = append(want, r.Alert+".md")
		if url := r.Annotations["runbook_url"]; url != "docs/runbooks/"+r.Alert+".md" {
			t.Errorf("%s: runbook_url is %q", r.Alert, url)
		}
		if s := r.Labels["severity"]; s != "page" && s != "ticket" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: severity %q, summary %q, description %q", r.Alert, s, r.Annotations["summary"], r.Annotations["description"])
		}
		if !strings.Contains(index, "("+r.Alert+".md)") {
			t.Errorf("%s is not in the index", r.Alert)
		}
		page, err := os.ReadFile(filepath.Join(runbooks, r.Alert+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.HasPrefix(string(page), "# "+r.Alert+"\n") {
			t.Errorf("%s.md does not begin with its name", r.Alert)
		}
		for _, part := range []string{"## What it means", "## What to look at", "## What to do"} {
			if strings.Count(string(page), "\n"+part+"\n") != 1 {
				t.Errorf("%s.md: no %q", r.Alert, part)
			}
		}
	}
	pages, err := filepath.Glob(runbooks + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := filepath.Base(page); name != "README.md" && !slices.Contains(want, name) {
			t.Errorf("%s has no alert", name)
		}
	}
}

// query is a query whose answer somebody will see.
type query struct {
	of   string // where it is used
	expr string
	text string // shows labels of the answer; may be empty
}

// panels returns the queries of the dashboard, as Grafana sends them if all replicas
// are selected.
func panels(t *testing.T) (all []query) {
	t.Helper()
	var d struct {
		Panels []struct {
			Type, Title string
			Datasource  struct{ Type, UID string }
			Targets     []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(read(t, dashboard), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.Type != "prometheus" || p.Datasource.UID != "${datasource}") {
			t.Errorf("%s: %d queries of %v", p.Title, len(p.Targets), p.Datasource)
		}
		for _, q := range p.Targets {
			expr := strings.NewReplacer("$instance", ".+", "$__rate_interval", "10s").Replace(q.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: a variable unknown to this test: %s", p.Title, expr)
			}
			all = append(all, query{"the panel " + p.Title, expr, q.LegendFormat})
		}
	}
	if len(all) < 30 {
		t.Fatalf("%d queries", len(all))
	}
	return all
}

var promql = regexp.MustCompile("(?s)```promql\n(.*?)```")

// runbookQueries returns the queries in the runbooks, one for each line.
func runbookQueries(t *testing.T) (all []query) {
	t.Helper()
	pages, err := filepath.Glob(runbooks + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		for _, block := range promql.FindAllStringSubmatch(string(read(t, page)), -1) {
			for expr := range strings.Lines(block[1]) {
				all = append(all, query{of: filepath.Base(page), expr: expr})
			}
		}
	}
	if len(all) < 20 {
		t.Fatalf("%d queries", len(all))
	}
	return all
}

// site is a service that has every metric: two replicas, one with TLS, on a Redis.
type site struct {
	*authsvctest.Site
	redis    *redistest.Server
	replicas []*authsvctest.Server
	short    authsvctest.Pair // its access token lives for a second
	frozen   authsvctest.Pair
}

const moreApps = `  - key: quick-worker
    secret: b1lling-Secret-0001
    access_ttl: 1s
`

func newSite(t *testing.T) *site {
	t.Helper()
	t.Setenv("GOMEMLIMIT", "512MiB") // of authsvc
	certs := redistest.NewCerts(t)
	// A scrape asks the store whether it answers, and here must end within a second.
	patient := []string{"--store-timeout", "2s"}
	s := &site{Site: authsvctest.NewSite(t), redis: redistest.Start(t)}
	s.WriteApps(authsvctest.AppsYAML + moreApps)
	s.replicas = []*authsvctest.Server{
		s.Serve(s.redis.URL(), patient...),
		s.Serve(s.redis.URL(), append(patient, "--tls-cert", certs.ServerCertFile, "--tls-key", certs.ServerKeyFile)...),
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(read(t, certs.CAFile))
	s.replicas[1].Client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	s.short = s.replicas[0].Issue("quick-worker").Pair()
	s.frozen = s.replicas[0].Issue(authsvctest.Batch).Pair()
	s.WriteApps(strings.Replace(authsvctest.AppsYAML, "scopes: [orders.read]\n", "state: frozen\n", 1) + moreApps)
	for _, r := range s.replicas {
		redistest.Eventually(t, "the app to be frozen", func() bool {
			return r.Introspect(s.frozen.Access).Text("error_code") == "APIG.0502"
		})
	}
	return s
}

// traffic sends every kind of request, with every kind of result.
func (s *site) traffic(t *testing.T) {
	t.Helper()
	for _, r := range s.replicas {
		first := r.Issue(authsvctest.Worker).Pair()
		authsvctest.Want(t, "verify", r.Verify(first.Access, "?scope=orders.read"), 200, "")
		authsvctest.Want(t, "verify", r.Verify(first.Access, "?scope=nope"), 403, "APIG.0304")
		if !r.Introspect(first.Access).Active() {
			t.Fatal("a new token is not active")
		}
		second := r.Refresh(authsvctest.Worker, first.Refresh).Pair()
		r.Refresh(authsvctest.Worker, first.Refresh) // a retry
		third := r.Refresh(authsvctest.Worker, second.Refresh).Pair()
		r.Refresh(authsvctest.Worker, third.Refresh)
		authsvctest.Want(t, "a replay", r.Refresh(authsvctest.Worker, first.Refresh), 400, "APIG.2202")
		last := r.Issue(authsvctest.Worker).Pair()
		authsvctest.Want(t, "revoke", r.Revoke(authsvctest.Worker, last.Refresh), 200, "")
		for _, token := range []string{last.Access, s.short.Access, s.frozen.Access, "junk"} {
			r.Introspect(token)
			r.Verify(token, "")
		}
		r.MustPost("/oauth/token", authsvctest.Worker, "grant_type", "client_credentials", "client_secret", "wr0ng-Secret-0001")
		for _, path := range []string{"/errors", "/openapi.yaml", "/.well-known/oauth-authorization-server", "/nowhere"} {
			res, err := r.Client.Get(r.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
	}
}

// metrics returns the names of all series of a replica, and of their families.
func metrics(t *testing.T, r *authsvctest.Server) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for line := range strings.Lines(r.Metrics()) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			line = rest
		}
		names[line[:strings.IndexAny(line, " {")]] = true
	}
	return names
}

var (
	metric = regexp.MustCompile(`\b(?:authsvc|go|process)_[a-z0-9_]+`)
	// labels matches the labels after by, and those in the texts of Grafana and of
	// Prometheus.
	labels   = regexp.MustCompile(`\bby \(([^)]*)\)|\{\{ *(?:\$labels\.)?([a-z]+)`)
	selector = regexp.MustCompile(`\b(?:job:)?(?:authsvc|go|process)_[a-z0-9_:]+(?:\{[^}]*\})?|\b(?:up|ALERTS)\{[^}]*\}`)
	forHow   = regexp.MustCompile(`(?m)^( +for:) .*$`)
)

// Prometheus answers every query of the dashboard, the rules and the runbooks, what
// they select exists, and an alert fires when it should.
func TestQueries(t *testing.T) {
	s := newSite(t)
	// Here alerts fire at once, so that the test can see it; promtool tests the
	// waiting.
	quick := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(quick, forHow.ReplaceAll(read(t, rulesFile), []byte("$1 1s")), 0o600); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, r := range s.replicas {
		targets = append(targets, strings.TrimPrefix(r.Admin, "http://"))
	}
	p := start(t, quick, targets...)

	shown := panels(t)
	queries := append(runbookQueries(t), shown...)
	for _, r := range rules(t) {
		queries = append(queries, query{r.Alert + r.Record, r.Expr, r.Annotations["summary"] + r.Annotations["description"]})
	}
	missing := map[string]string{} // what has no value yet, and where it is used
	for _, q := range queries {
		if _, err := p.series(q.expr); err != nil {
			t.Errorf("%s: %v", q.of, err)
		}
		for _, selected := range selector.FindAllString(q.expr, -1) {
			missing[selected] = q.of
		}
	}
	for _, q := range shown { // not the alerts: without an alert there is no value
		missing[q.expr] = q.of
	}
	t.Cleanup(func() {
		for expr, of := range missing {
			t.Logf("no value: %s, in %s", expr, of)
		}
	})
	redistest.Eventually(t, "a value for everything", func() bool {
		s.traffic(t)
		for expr, of := range missing {
			found, err := p.series(expr)
			if err != nil {
				t.Fatalf("%s: %v", of, err)
			}
			if slices.ContainsFunc(found, func(f sample) bool { return f.Value[1] != "NaN" }) {
				delete(missing, expr)
			}
		}
		return len(missing) == 0
	})
	for _, q := range queries {
		p.checkLabels(q)
	}

	if a := p.alerts("AuthsvcRedisBreakerOpen"); len(a) != 0 {
		t.Errorf("before Redis is unavailable: %v", a)
	}
	s.redis.Pause()
	for _, name := range []string{"AuthsvcRedisBreakerOpen", "AuthsvcNoReplicaReady", "AuthsvcStoreUnavailable"} {
		redistest.Eventually(t, name+" to fire", func() bool {
			a := p.alerts(name)
			return len(a) == 1 && a[0].State == "firing" && a[0].Labels["severity"] == "page"
		})
	}
	s.redis.Resume()
	for _, name := range []string{"AuthsvcRedisBreakerOpen", "AuthsvcNoReplicaReady"} {
		redistest.Eventually(t, name+" to end", func() bool { return len(p.alerts(name)) == 0 })
	}
	p.checkRules()
}

// checkLabels checks that the labels by which a query groups, or that its text shows,
// are labels of what it selects. Nobody would notice a mistyped one.
func (s *server) checkLabels(q query) {
	s.t.Helper()
	there := map[string]bool{"revision": true} // a build need not know it
	for _, selected := range selector.FindAllString(q.expr, -1) {
		found, err := s.series(selected)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range found {
			for label := range f.Metric {
				there[label] = true
			}
		}
	}
	for _, m := range labels.FindAllStringSubmatch(q.expr+q.text, -1) {
		for label := range strings.SplitSeq(m[1]+m[2], ",") {
			if label = strings.TrimSpace(label); !there[label] {
				s.t.Errorf("%s: nothing has the label %s: %s %s", q.of, label, q.expr, q.text)
			}
		}
	}
}

// checkRules checks that all rules are evaluated without an error, and that the texts
// of the alerts that fired have no template errors.
func (s *server) checkRules() {
	s.t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct {
				Name, Health, LastError string
				Alerts                  []alert
			}
		}
	}
	if err := s.get("/api/v1/rules", &data); err != nil {
		s.t.Fatal(err)
	}
	seen := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" || r.LastError != "" {
				s.t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
			for _, a := range r.Alerts {
				seen++
				for _, text := range a.Annotations {
					if strings.Contains(text, "<error") || strings.Contains(text, "<no value>") || strings.Contains(text, "{{") {
						s.t.Errorf("%s says %q", r.Name, text)
					}
				}
			}
		}
	}
	if seen == 0 {
		s.t.Error("no alert is left to read")
	}
}

// Every metric that the rules, the dashboard or a page name exists.
func TestMetricsAreThere(t *testing.T) {
	s := newSite(t)
	s.traffic(t)
	there := metrics(t, s.replicas[1])
	pages, err := filepath.Glob(runbooks + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(pages, rulesFile, testsFile, dashboard, root+"/docs/howto/monitor.md", root+"/docs/howto/check-an-installation.md") {
		for _, name := range metric.FindAllString(string(read(t, file)), -1) {
			if !there[name] {
				t.Errorf("%s names %s, which does not exist", file, name)
			}
		}
	}
}
