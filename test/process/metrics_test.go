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

// measured is a metric of a process; false if it has none of that name and labels.
func measured(t *testing.T, s *authsvctest.Server, series string) (float64, bool) {
	t.Helper()
	_, rest, ok := strings.Cut(s.Metrics(), "\n"+series+" ")
	if !ok {
		return 0, false
	}
	text, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("%s is %q", series, text)
	}
	return value, true
}

// What is observed of a process is what it is now: apps, signing key and certificate
// follow the files.
func TestServeObserves(t *testing.T) {
	t.Parallel()
	site := authsvctest.NewSite(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	install := func(c *redistest.Certs) (notAfter string) {
		for from, to := range map[string]string{c.ServerCertFile: cert, c.ServerKeyFile: key} {
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
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
	eventuallyMeasured(t, s, "authsvc_tls_certificate_not_after_timestamp_seconds "+notAfter)
	eventuallyMeasured(t, s, "authsvc_signing_key_created_timestamp_seconds "+strconv.FormatFloat(float64(first.Unix()), 'g', -1, 64))
	eventuallyMeasured(t, s, `authsvc_apps{state="active"} 3`)
	eventuallyMeasured(t, s, `authsvc_apps{state="frozen"} 0`)
	eventuallyMeasured(t, s, "authsvc_log_lines_dropped_total 0")
	eventuallyMeasured(t, s, "authsvc_ready 1")
	var version struct{ Version, Revision string }
	if err := json.Unmarshal(command(t, "version", "-o", "json"), &version); err != nil {
		t.Fatal(err)
	}
	if n, ok := measured(t, s, fmt.Sprintf("authsvc_build_info{goversion=%q,revision=%q,version=%q}", runtime.Version(), version.Revision, version.Version)); n != 1 || !ok {
		t.Error("authsvc_build_info is not what authsvc version says")
	}
	for _, name := range []string{`authsvc_redis_pool_connections{state="idle"}`, "authsvc_redis_pool_waits_total", "authsvc_redis_pool_timeouts_total"} {
		if _, ok := measured(t, s, name); ok {
			t.Errorf("there is %s without a Redis", name)
		}
	}

	site.WriteApps(strings.Replace(authsvctest.AppsYAML, "scopes: [orders.read]\n", "state: frozen\n", 1))
	eventuallyMeasured(t, s, `authsvc_apps{state="active"} 2`)
	eventuallyMeasured(t, s, `authsvc_apps{state="frozen"} 1`)
	eventuallyMeasured(t, s, `authsvc_reloads_total{file="apps",result="ok"} 1`)
	site.WriteApps("apps: []\n")
	eventuallyMeasured(t, s, `authsvc_last_reload_successful{file="apps"} 0`)
	eventuallyMeasured(t, s, `authsvc_reloads_total{file="apps",result="refused"} 1`)
	site.WriteApps(authsvctest.AppsYAML)
	eventuallyMeasured(t, s, `authsvc_last_reload_successful{file="apps"} 1`)
	eventuallyMeasured(t, s, `authsvc_last_reload_successful{file="keys"} 1`)

	later := first.Add(-48 * time.Hour) // as if the file were older than it is
	data, err := os.ReadFile(site.Keys)
	if err != nil {
		t.Fatal(err)
	}
	created := regexp.MustCompile(`"created": "[^"]*"`).ReplaceAll(data, []byte(`"created": "`+later.Format(time.RFC3339)+`"`))
	if err := os.WriteFile(site.Keys, created, 0o600); err != nil || bytes.Equal(created, data) {
		t.Fatal(err)
	}
	eventuallyMeasured(t, s, "authsvc_signing_key_created_timestamp_seconds "+strconv.FormatFloat(float64(later.Unix()), 'g', -1, 64))
	command(t, "keys", "rotate", "--now", "--keys", site.Keys)
	redistest.Eventually(t, "the new key to sign", func() bool {
		n, _ := measured(t, s, "authsvc_signing_key_created_timestamp_seconds")
		return n >= float64(first.Unix())
	})
	eventuallyMeasured(t, s, "authsvc_tls_certificate_not_after_timestamp_seconds "+install(redistest.NewCerts(t)))
}

// Of a Redis: its outages are counted, and the connections to it.
func TestServeObservesRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := authsvctest.NewSite(t).Serve(server.URL())
	s.Issue(authsvctest.Worker)
	eventuallyMeasured(t, s, "authsvc_redis_outages_total 0")
	eventuallyMeasured(t, s, "authsvc_redis_pool_timeouts_total 0")
	redistest.Eventually(t, "connections", func() bool {
		idle, _ := measured(t, s, `authsvc_redis_pool_connections{state="idle"}`)
		inUse, _ := measured(t, s, `authsvc_redis_pool_connections{state="in_use"}`)
		return idle+inUse > 1 // the commands', and the clock's
	})
	for i := range 2 {
		server.Pause()
		eventuallyMeasured(t, s, "authsvc_redis_away 1")
		eventuallyMeasured(t, s, "authsvc_ready 0")
		server.Resume()
		eventuallyMeasured(t, s, "authsvc_redis_away 0")
		eventuallyMeasured(t, s, "authsvc_ready 1")
		eventuallyMeasured(t, s, fmt.Sprintf("authsvc_redis_outages_total %d", i+1))
	}
}
