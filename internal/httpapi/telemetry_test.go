package httpapi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/app"
	"authsvc/internal/redistest"
	"authsvc/internal/store/memory"
	"authsvc/internal/token"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := s.issue(worker)
	s.refresh(worker, p)
	s.refresh(worker, p) // within the grace
	s.now.advance(2 * time.Minute)
	s.post("/oauth/token", worker, values("grant_type", "refresh_token", "refresh_token", p.refresh)) // a replay
	s.get(s.url + "/nowhere/" + p.access)
	text := string(s.get(s.admin + "/metrics").body)
	for _, want := range []string{
		`authsvc_http_requests_total{code="ok",endpoint="token"} 3`,
		`authsvc_http_requests_total{code="APIG.2202",endpoint="token"} 1`,
		`authsvc_http_requests_total{code="APIG.0101",endpoint="other"} 1`,
		`authsvc_http_request_duration_seconds_count{code="ok",endpoint="token"} 3`,
		`authsvc_grant_events_total{event="issued"} 1`,
		`authsvc_grant_events_total{event="refreshed"} 1`,
		`authsvc_grant_events_total{event="refresh_repeated"} 1`,
		`authsvc_grant_events_total{event="refresh_replayed"} 1`,
		`authsvc_grant_events_total{event="grant_healed"} 0`,
		`authsvc_store_call_duration_seconds_count{op="swap",result="ok"} 1`,
		`authsvc_clock_offset_seconds 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if strings.Count(s.log.text(), `"msg":"refresh_replayed"`) != 1 {
		t.Error("the replay was not logged once")
	}
	if strings.Contains(text, "at_") {
		t.Error("a path came into the metrics")
	}
}

// What a token was found to be is counted, by the endpoint that was asked. Where it
// could not be told, or there was none, nothing is.
func TestVerdictMetrics(t *testing.T) {
	t.Parallel()
	s := newService(t)
	verdicts := func(endpoint string, want map[string]int) {
		t.Helper()
		got := map[string]int{}
		for line := range strings.Lines(string(s.get(s.admin + "/metrics").body)) {
			var verdict string
			var n int
			line = strings.ReplaceAll(line, `"`, " ")
			if _, err := fmt.Sscanf(line, "authsvc_introspections_total{endpoint= "+endpoint+" ,verdict= %s } %d", &verdict, &n); err == nil {
				got[verdict] = n
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", endpoint, diff)
		}
	}
	verdicts("introspect", map[string]int{"active": 0, "APIG.2203": 0, "APIG.1002": 0, "APIG.1004": 0, "APIG.0502": 0})
	verdicts("verify", map[string]int{"active": 0, "APIG.2203": 0, "APIG.1002": 0, "APIG.1004": 0, "APIG.0502": 0, "APIG.0304": 0})

	ask := func(token string) {
		s.post("/oauth/introspect", gateway, values("token", token))
		s.get(s.url+"/oauth/verify", "Authorization", "Bearer "+token)
	}
	old := s.issue(worker)
	s.now.advance(2 * time.Hour)
	ask(old.access) // expired
	live, gone := s.issue(worker), s.issue(other)
	ask(live.access)
	ask(live.access)
	ask(live.refresh) // no access token
	s.get(s.url+"/oauth/verify?scope=orders.delete", "Authorization", "Bearer "+live.access)
	s.setApp(worker, func(a *app.App) { a.Frozen = true })
	ask(live.access)
	s.setApp(worker, func(a *app.App) { a.Frozen = false })
	if err := s.apps.Replace(slices.DeleteFunc(slices.Clone(s.list), func(a app.App) bool { return a.Key == other })); err != nil {
		t.Fatal(err)
	}
	ask(gone.access)

	s.get(s.url + "/oauth/verify")                                    // no token
	s.post("/oauth/introspect", worker, values("token", live.access)) // not its role
	s.store.fail(token.ErrUnavailable)
	ask(live.access)
	verdicts("introspect", map[string]int{"active": 2, "APIG.2203": 1, "APIG.1002": 1, "APIG.1004": 1, "APIG.0502": 1})
	verdicts("verify", map[string]int{"active": 2, "APIG.2203": 1, "APIG.1002": 1, "APIG.1004": 1, "APIG.0502": 1, "APIG.0304": 1})
}

// blockedStore lets nobody read until it is told to.
type blockedStore struct {
	token.Store
	entered, leave chan struct{}
}

func (b blockedStore) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	b.entered <- struct{}{}
	<-b.leave
	return b.Store.Get(ctx, id)
}

func TestRequestsInFlight(t *testing.T) {
	t.Parallel()
	now := &fakeNow{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	b := blockedStore{memory.New(now.Now), make(chan struct{}), make(chan struct{})}
	s := newServiceOn(t, b, now)
	inFlight := func() string {
		_, rest, _ := strings.Cut(string(s.get(s.admin+"/metrics").body), "\nauthsvc_http_requests_in_flight ")
		n, _, _ := strings.Cut(rest, "\n")
		return n
	}
	tok := s.issue(worker).access
	redistest.Eventually(t, "nothing in flight", func() bool { return inFlight() == "0" }) // the answer can be there first
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { s.get(s.url+"/oauth/verify", "Authorization", "Bearer "+tok) })
		<-b.entered
	}
	if n := inFlight(); n != "3" {
		t.Errorf("%s in flight, want 3", n)
	}
	close(b.leave)
	wg.Wait()
	redistest.Eventually(t, "nothing in flight", func() bool { return inFlight() == "0" })
}

// lateStore finds that every swap comes too late.
type lateStore struct{ token.Store }

func (lateStore) Swap(context.Context, token.GrantID, []byte, []byte, time.Time, time.Time) error {
	return token.ErrLate
}

// The metrics that an alert needs the 0 of are there from the start, each label
// with the values that it can have.
func TestMetricsBeforeTheFirst(t *testing.T) {
	t.Parallel()
	now := &fakeNow{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s := newServiceOn(t, lateStore{memory.New(now.Now)}, now)
	text := string(s.get(s.admin + "/metrics").body)
	want := []string{"authsvc_redis_breaker_opened_total 0", "authsvc_redis_breakers_open 0", "authsvc_ready 1"}
	for _, endpoint := range []string{"token", "introspect", "verify", "revoke", "metadata", "errors", "openapi", "other"} {
		for _, code := range []string{"ok", "APIG.0601", "APIG.0613"} {
			want = append(want, fmt.Sprintf("authsvc_http_requests_total{code=%q,endpoint=%q} 0", code, endpoint))
		}
	}
	for _, file := range []string{"apps", "keyring", "tls"} {
		want = append(want, fmt.Sprintf("authsvc_last_reload_successful{file=%q} 1", file),
			fmt.Sprintf(`authsvc_reloads_total{file=%q,result="ok"} 0`, file), fmt.Sprintf(`authsvc_reloads_total{file=%q,result="refused"} 0`, file))
	}
	for _, op := range []string{"create", "get", "swap", "delete", "now"} {
		want = append(want, fmt.Sprintf(`authsvc_store_call_duration_seconds_count{op=%q,result="unavailable"} 0`, op))
	}
	for _, line := range want {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no %s in the metrics", line)
		}
	}
	s.post("/oauth/token", worker, values("grant_type", "refresh_token", "refresh_token", s.issue(worker).refresh))
	s.store.fail(token.ErrUnavailable)
	text = string(s.get(s.admin + "/metrics").body)
	if !strings.Contains(text, "\nauthsvc_ready 0\n") {
		t.Error("ready without a store")
	}
	if strings.Contains(text, `{op="swap",result="late"} 0`) || !strings.Contains(text, `_count{op="swap",result="unavailable"} 0`) {
		t.Error("a swap that came late was counted as something else")
	}
}
