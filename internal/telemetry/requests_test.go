package telemetry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

// Replays are logged, those that ended their grant as security events and those that were
// spared as none. Callers who left are counted for each app, but not for any number of apps.
func TestReplaysAreToldApart(t *testing.T) {
	m := telemetry.NewMetrics(token.NewClock(time.Now))
	var log bytes.Buffer
	told := m.GrantEvents(slog.New(slog.NewJSONHandler(&log, nil)))
	for _, kind := range []token.EventKind{token.EventIssued, token.EventCallerLeft, token.EventReplaySpared, token.EventRefreshReplayed} {
		told(t.Context(), token.Event{Kind: kind, AppKey: "billing-worker", JTI: "a-jti"})
	}
	var lines []string
	for line := range bytes.Lines(log.Bytes()) {
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(e["msg"], " ", e["level"], " ", e["security"], " ", e["app"], " ", e["jti"]))
	}
	if want := []string{
		"caller_left INFO <nil> billing-worker a-jti",
		"replay_spared INFO <nil> billing-worker a-jti",
		"refresh_replayed WARN true billing-worker a-jti",
	}; !slices.Equal(lines, want) {
		t.Errorf("logged %q, want %q", lines, want)
	}

	for n := range 150 {
		told(t.Context(), token.Event{Kind: token.EventCallerLeft, AppKey: fmt.Sprintf("worker-%03d", n)})
		told(t.Context(), token.Event{Kind: token.EventCallerLeft, AppKey: "billing-worker"})
	}
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "authsvc_callers_left_total" {
			for _, s := range f.GetMetric() {
				counts[s.GetLabel()[0].GetValue()] = s.GetCounter().GetValue()
			}
		}
	}
	if len(counts) != 101 || counts["billing-worker"] != 151 || counts["worker-098"] != 1 || counts["worker-099"] != 0 || counts["others"] != 51 {
		t.Errorf("%d series: %v", len(counts), counts)
	}
}
