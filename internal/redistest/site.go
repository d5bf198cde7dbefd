package redistest

import (
	"bytes"
	"context"
	"testing"
	"time"
)

// Site is a Redis of one topology.
type Site struct {
	URL       string
	Servers   []*Server
	PrimaryOf func(key string) *Server // the primary that has the key now
}

// Sites holds a function for each topology that starts a Redis: single, sentinel,
// cluster.
var Sites = map[string]func(testing.TB) Site{
	"single": func(t testing.TB) Site {
		s := Start(t)
		return Site{s.URL(), []*Server{s}, func(string) *Server { return s }}
	},
	"sentinel": func(t testing.TB) Site {
		trio := StartTrio(t)
		return Site{trio.URL(), trio.Servers(), func(string) *Server { return trio.Primary() }}
	},
	"cluster": func(t testing.TB) Site {
		c := StartCluster(t)
		return Site{c.URL(), c.Servers(), c.PrimaryOf}
	},
}

// OnEach runs a test on each topology, in parallel.
func OnEach(t *testing.T, test func(t *testing.T, on Site)) {
	for name, start := range Sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// Command returns a function for Proxy.CutReplies that matches requests with a command,
// given as on the wire.
func Command(name string) func(request []byte) bool {
	return func(request []byte) bool { return bytes.Contains(request, []byte("\r\n"+name+"\r\n")) }
}

// Succeeds waits until a call succeeds. Each attempt has 300 ms.
func Succeeds(t testing.TB, what string, call func(context.Context) error) {
	t.Helper()
	var err error
	defer func() {
		if t.Failed() {
			t.Logf("at the end: %v", err)
		}
	}()
	Eventually(t, what, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err = call(ctx)
		return err == nil
	})
}
