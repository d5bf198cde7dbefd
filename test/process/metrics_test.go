package process

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/keyring"
	"authsvc/internal/redistest"
)

// The metrics show the current state: those of apps, signing key and certificate follow
// the files.
func TestServeObserves(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	install := func(c *redistest.Certs) (notAfter string) {
		c.InstallServer(t, cert, key)
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return strconv.FormatFloat(float64(pair.Leaf.NotAfter.Unix()), 'g', -1, 64)
	}
	notAfter := install(redistest.NewCerts(t))
	s := site.Serve("memory://", "--tls-cert", cert, "--tls-key", key)

	ring, err := keyring.Read(site.Keys)
	if err != nil {
		t.Fatal(err)
	}
	first := ring.Keys()[0].Created
	s.WaitMetric("authsvc_tls_certificate_not_after_timestamp_seconds " + notAfter)
	s.WaitMetric("authsvc_signing_key_created_timestamp_seconds " + strconv.FormatFloat(float64(first.Unix()), 'g', -1, 64))
	s.WaitMetric(`authsvc_apps{state="active"} 3`)
	s.WaitMetric(`authsvc_apps{state="frozen"} 0`)
	s.WaitMetric("authsvc_log_lines_dropped_total 0")
	s.WaitMetric("authsvc_ready 1")
	var version struct{ Version, Revision string }
	if err := json.Unmarshal(command(t, "version", "-o", "json"), &version); err != nil {
		t.Fatal(err)
	}
	if n, ok := s.Metric(fmt.Sprintf("authsvc_build_info{goversion=%q,revision=%q,version=%q}", runtime.Version(), version.Revision, version.Version)); n != 1 || !ok {
		t.Error("authsvc_build_info differs from authsvc version")
	}
	for _, name := range []string{`authsvc_redis_pool_connections{state="idle"}`, "authsvc_redis_pool_waits_total", "authsvc_redis_pool_timeouts_total"} {
		if _, ok := s.Metric(name); ok {
			t.Errorf("%s exists without a Redis", name)
		}
	}

	site.WriteApps(strings.Replace(authsvctest.AppsYAML, "scopes: [orders.read]\n", "state: frozen\n", 1))
	s.WaitMetric(`authsvc_apps{state="active"} 2`)
	s.WaitMetric(`authsvc_apps{state="frozen"} 1`)
	s.WaitMetric(`authsvc_reloads_total{file="apps",result="ok"} 1`)
	site.WriteApps("apps: []\n")
	s.WaitMetric(`authsvc_last_reload_successful{file="apps"} 0`)
	s.WaitMetric(`authsvc_reloads_total{file="apps",result="refused"} 1`)
	site.WriteApps(authsvctest.AppsYAML)
	s.WaitMetric(`authsvc_last_reload_successful{file="apps"} 1`)
	s.WaitMetric(`authsvc_last_reload_successful{file="keyring"} 1`)

	later := first.Add(-48 * time.Hour) // pretend that the file is older
	data, err := os.ReadFile(site.Keys)
	if err != nil {
		t.Fatal(err)
	}
	created := regexp.MustCompile(`"created": "[^"]*"`).ReplaceAll(data, []byte(`"created": "`+later.Format(time.RFC3339)+`"`))
	if err := os.WriteFile(site.Keys, created, 0o600); err != nil || bytes.Equal(created, data) {
		t.Fatal(err)
	}
	s.WaitMetric("authsvc_signing_key_created_timestamp_seconds " + strconv.FormatFloat(float64(later.Unix()), 'g', -1, 64))
	command(t, "keys", "rotate", "--now", "--keys", site.Keys)
	redistest.Eventually(t, "the new key to sign", func() bool {
		n, _ := s.Metric("authsvc_signing_key_created_timestamp_seconds")
		return n >= float64(first.Unix())
	})
	s.WaitMetric("authsvc_tls_certificate_not_after_timestamp_seconds " + install(redistest.NewCerts(t)))
}

// With a Redis, the metrics count its outages and the connections to it.
func TestServeObservesRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := authsvctest.NewSite(t).Serve(server.URL())
	s.Issue(authsvctest.Worker)
	s.WaitMetric("authsvc_redis_breaker_opened_total 0")
	s.WaitMetric("authsvc_redis_pool_timeouts_total 0")
	redistest.Eventually(t, "connections", func() bool {
		idle, _ := s.Metric(`authsvc_redis_pool_connections{state="idle"}`)
		inUse, _ := s.Metric(`authsvc_redis_pool_connections{state="in_use"}`)
		return idle+inUse > 1 // the commands', and the clock's
	})
	for i := range 2 {
		server.Pause()
		s.WaitMetric("authsvc_redis_breakers_open 1")
		s.WaitMetric("authsvc_ready 0")
		server.Resume()
		s.WaitMetric("authsvc_redis_breakers_open 0")
		s.WaitMetric("authsvc_ready 1")
		s.WaitMetric(fmt.Sprintf("authsvc_redis_breaker_opened_total %d", i+1))
	}
}
