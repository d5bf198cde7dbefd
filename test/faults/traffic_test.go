package faults

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// traffic is a number of callers that each take one token after another through its
// life. Every request that fails is a finding.
type traffic struct {
	findings
	t     *testing.T
	wg    sync.WaitGroup
	ended atomic.Bool
	count atomic.Int64 // of requests

	took []time.Duration // each request; guarded by findings.mu until ended
}

// startTraffic starts callers of a base URL, which pause between requests. Every second
// one opens a connection for each request; the others reuse theirs.
func startTraffic(t *testing.T, url string, callers int, pause time.Duration) *traffic {
	t.Helper()
	c := &traffic{t: t}
	for i := range callers {
		// It keeps no idle connection: if one is closed just when it is reused, the
		// request fails.
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 1, MaxIdleConnsPerHost: 1}}
		c.wg.Go(func() {
			defer client.CloseIdleConnections()
			for !c.ended.Load() {
				c.life(&authsvctest.Server{URL: url, Client: client}, pause)
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

// life takes a token through its life. All requests are POST: net/http would retry a
// GET whose connection broke, and so hide that.
func (c *traffic) life(s *authsvctest.Server, pause time.Duration) {
	var p authsvctest.Pair
	for _, step := range []struct {
		name, path, app string
		params          func() []string
		good            func(authsvctest.Answer) bool
	}{
		{"issue", "/oauth/token", authsvctest.Worker, func() []string { return []string{"grant_type", "client_credentials"} }, isPair},
		{"introspect", "/oauth/introspect", authsvctest.Gateway, func() []string { return []string{"token", p.Access} }, authsvctest.Answer.Active},
		{"refresh", "/oauth/token", authsvctest.Worker, func() []string { return []string{"grant_type", "refresh_token", "refresh_token", p.Refresh} }, isPair},
		{"verify", "/oauth/verify", "", nil, func(a authsvctest.Answer) bool { return a.Header.Get("X-App-Key") == authsvctest.Worker }},
		{"revoke", "/oauth/revoke", authsvctest.Worker, func() []string { return []string{"token", p.Refresh} }, func(authsvctest.Answer) bool { return true }},
		{"introspect what was revoked", "/oauth/introspect", authsvctest.Gateway, func() []string { return []string{"token", p.Access} }, func(a authsvctest.Answer) bool { return a.Text("error_code") == "APIG.2203" }},
	} {
		start := time.Now()
		var a authsvctest.Answer
		var err error
		if step.params != nil {
			a, err = s.Post(step.path, step.app, step.params()...)
		} else {
			a, err = verify(s, p.Access)
		}
		took := time.Since(start)
		c.count.Add(1)
		c.mu.Lock()
		c.took = append(c.took, took)
		c.mu.Unlock()
		if err != nil || a.Status != 200 || !step.good(a) {
			c.add("%s: %v %d %s", step.name, err, a.Status, a.Body)
			return
		}
		if next := a.Pair(); next.Access != "" {
			p = next
		}
		time.Sleep(pause)
	}
}

func isPair(a authsvctest.Answer) bool { return a.Pair().Access != "" && a.Pair().Refresh != "" }

func verify(s *authsvctest.Server, token string) (authsvctest.Answer, error) {
	r, err := http.NewRequest(http.MethodPost, s.URL+"/oauth/verify", strings.NewReader("x"))
	if err != nil {
		return authsvctest.Answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := s.Client.Do(r)
	if err != nil {
		return authsvctest.Answer{}, err
	}
	defer res.Body.Close()
	return authsvctest.Answer{Status: res.StatusCode, Header: res.Header}, nil
}

// more waits for n more requests.
func (c *traffic) more(n int) {
	c.t.Helper()
	until := c.count.Load() + int64(n)
	redistest.Eventually(c.t, "more requests", func() bool { return c.count.Load() >= until })
}

// end stops the callers.
func (c *traffic) end() {
	c.ended.Store(true)
	c.wg.Wait()
}

// slowest returns the longest time that this part of all requests took (0.99: the p99).
// The traffic must have ended.
func (c *traffic) slowest(part float64) time.Duration {
	slices.Sort(c.took)
	return c.took[min(len(c.took)-1, int(part*float64(len(c.took))))].Round(10 * time.Microsecond)
}
