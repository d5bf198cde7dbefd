package faults

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// debugged starts a Redis of each topology that can be told to load its data again.
var debugged = map[string]func(testing.TB) redistest.Site{
	"single": func(t testing.TB) redistest.Site {
		s := redistest.Start(t, debugArgs...)
		return redistest.Site{URL: s.URL(), Servers: []*redistest.Server{s}, PrimaryOf: func(string) *redistest.Server { return s }}
	},
	"sentinel": func(t testing.TB) redistest.Site {
		trio := redistest.StartTrio(t, debugArgs...)
		return redistest.Site{URL: trio.URL(), Servers: trio.Servers(), PrimaryOf: func(string) *redistest.Server { return trio.Primary() }}
	},
	"cluster": func(t testing.TB) redistest.Site {
		c := redistest.StartCluster(t, debugArgs...)
		return redistest.Site{URL: c.URL(), Servers: c.Servers(), PrimaryOf: c.PrimaryOf}
	},
}

var debugArgs = []string{"--enable-debug-command", "local"}

// The answer to a refresh is lost, and then Redis loads its data for longer than the grace.
// The retry gets the identical pair once Redis has loaded, from every process, whenever it
// started; what the outage spared, a replay still ends.
func TestOutageAfterALostReply(t *testing.T) {
	for name, start := range debugged {
		t.Run(name, func(t *testing.T) {
			sideBySide(t)
			outageAfterALostReply(t, authsvctest.Binary(t), start(t)).none(t)
		})
		control(t, name+": the grace runs on while Redis loads", func(t *testing.T) {
			f := outageAfterALostReply(t, authsvctest.BuildPatched(t, authsvctest.OutagesAreIgnored), start(t))
			f.some(t, "the retry, once Redis has loaded")
		})
	}
}

// grantKey returns the key of a token's grant.
func grantKey(token string) string {
	id := claims(token).Grant
	return "authsvc:" + base64.RawURLEncoding.EncodeToString(id[:])
}

func outageAfterALostReply(t *testing.T, binary string, on redistest.Site) *findings {
	t.Helper()
	const grace = 6 * time.Second
	f := &findings{}
	ctx := context.Background()
	site := authsvctest.NewSite(t)
	begin := func() *authsvctest.Server { return site.StartBinary(binary, on.URL, "--refresh-grace", grace.String()) }
	processes := []*authsvctest.Server{begin(), begin()}
	for _, p := range processes {
		p.WaitReady()
	}
	insist := func(p *authsvctest.Server, token string) (a authsvctest.Answer) {
		redistest.Eventually(t, "a verdict", func() bool {
			a = p.Refresh(authsvctest.Worker, token)
			return a.Status != 503
		})
		return a
	}
	var first authsvctest.Pair
	redistest.Eventually(t, "a grant", func() bool {
		first = processes[0].Issue(authsvctest.Worker).Pair()
		return first.Refresh != ""
	})
	primary := on.PrimaryOf(grantKey(first.Refresh))
	c := primary.Client()
	slowly := func(delay int) {
		t.Helper()
		for name, value := range map[string]int{"key-load-delay": delay, "loading-process-events-interval-bytes": 1024} {
			redistest.Eventually(t, "a setting", func() bool { return c.ConfigSet(ctx, name, fmt.Sprint(value)).Err() == nil })
		}
	}
	if err := c.Do(ctx, "DEBUG", "POPULATE", 60_000, "filler", 100).Err(); err != nil {
		t.Fatal(err)
	}
	slowly(1000)
	second := insist(processes[0], first.Refresh).Pair() // its answer is lost
	rotated := time.Now()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		_ = c.WithTimeout(time.Minute).Do(ctx, "DEBUG", "RELOAD").Err()
	}()
	defer func() { <-loaded }()
	isLoading := func() bool { return strings.Contains(c.Info(ctx, "persistence").Val(), "loading:1") }
	redistest.Eventually(t, "Redis to be loading", isLoading)
	if late := time.Since(rotated); late > grace/2 {
		t.Skipf("Redis began to load only after %v", late)
	}
	tries := 0
	for time.Since(rotated) < grace+time.Second {
		f.want("the retry, while Redis loads", processes[tries%2].Refresh(authsvctest.Worker, first.Refresh), 503, "APIG.0613")
		tries++
	}
	processes = append(processes, begin()) // knows nothing of the outage's beginning
	if !isLoading() {
		t.Fatal("Redis had loaded too early")
	}
	slowly(0)
	redistest.Eventually(t, "Redis to have loaded", func() bool { return !isLoading() })
	back := time.Now()
	for i, p := range processes {
		a := insist(p, first.Refresh)
		if f.want(fmt.Sprintf("the retry, once Redis has loaded, at process %d", i), a, 200, ""); a.Pair() != second {
			f.add("the retry, once Redis has loaded, at process %d got another pair: %d", i, a.Status)
		}
	}
	figure(t, "loading for %.1f s after a lost answer, with a grace of %v: %d tries answered 0613; the last process had answered %d ms after Redis had loaded",
		back.Sub(rotated).Seconds(), grace, tries, time.Since(back).Milliseconds())

	newest := second
	for range 2 {
		newest = insist(processes[0], newest.Refresh).Pair()
	}
	f.want("a replay", insist(processes[1], first.Refresh), 400, refreshInvalid)
	f.want("the newest, after a replay", insist(processes[2], newest.Refresh), 400, refreshInvalid)
	return f
}
