package prometheus

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"authsvc/internal/redistest"
)

// server is a Prometheus of a test. It ends with the test.
type server struct {
	t   *testing.T
	url string
}

// start starts a Prometheus that scrapes, and evaluates the rules, each second. Each
// target is host:port.
func start(t *testing.T, rules string, targets ...string) *server {
	t.Helper()
	prometheus := redistest.Program(t, "prometheus")
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	list, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, `
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [%q]
scrape_configs:
  - job_name: authsvc
    static_configs: [{ targets: %s }]
`, rules, list), 0o600); err != nil {
		t.Fatal(err)
	}
	// Another process can take the port after it was found to be free.
	for range 5 {
		addr := redistest.FreeAddr(t)
		log, err := os.Create(filepath.Join(dir, "prometheus.log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(prometheus, "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"),
			"--web.listen-address", addr, "--log.level", "warn")
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); log.Close(); close(ended) }()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-ended
			if text, err := os.ReadFile(log.Name()); err == nil && len(text) > 0 && t.Failed() {
				t.Logf("Prometheus says:\n%s", text)
			}
		})
		s := &server{t, "http://" + addr}
		running := true
		redistest.Eventually(t, "Prometheus to be ready, or to exit", func() bool {
			select {
			case <-ended:
				running = false
				return true
			default:
			}
			res, err := http.Get(s.url + "/-/ready")
			if err != nil {
				return false
			}
			res.Body.Close()
			return res.StatusCode == http.StatusOK
		})
		if running {
			return s
		}
	}
	t.Fatal("Prometheus does not start")
	return nil
}

// get sends a GET to the API, and decodes the data into to. Its error says what
// Prometheus answers to a wrong query.
func (s *server) get(path string, to any) error {
	res, err := http.Get(s.url + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Warnings      []string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	if answer.Status != "success" || len(answer.Warnings) > 0 {
		return fmt.Errorf("%s %s", answer.Error, strings.Join(answer.Warnings, ", "))
	}
	return json.Unmarshal(answer.Data, to)
}

// sample is a series of an answer, with its current value.
type sample struct {
	Metric map[string]string
	Value  [2]any // time, and the number as text
}

// series returns what a query selects now.
func (s *server) series(query string) ([]sample, error) {
	var data struct {
		ResultType string
		Result     []sample
	}
	if err := s.get("/api/v1/query?query="+url.QueryEscape(query), &data); err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	if data.ResultType != "vector" {
		return nil, fmt.Errorf("%s is a %s", query, data.ResultType)
	}
	return data.Result, nil
}

// alert is a pending or firing alert.
type alert struct {
	State               string
	Labels, Annotations map[string]string
}

// alerts returns the alerts with a name.
func (s *server) alerts(name string) []alert {
	s.t.Helper()
	var data struct{ Alerts []alert }
	if err := s.get("/api/v1/alerts", &data); err != nil {
		s.t.Fatal(err)
	}
	var found []alert
	for _, a := range data.Alerts {
		if a.Labels["alertname"] == name {
			found = append(found, a)
		}
	}
	return found
}
