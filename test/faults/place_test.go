package faults

import (
	"testing"
	"time"

	"authsvc/internal/redistest"
)

// place is a Redis of one topology, whose processes may hang or restart for up to a
// minute before they are declared lost.
type place struct {
	url       string
	dump      func() []redistest.Record
	primaries func() []*redistest.Server
	// of returns the primary that has a key, and the proxy that callers reach it by.
	of func(key string) (*redistest.Server, *redistest.Proxy)
	// whole waits until all replicas follow their primaries.
	whole func()
}

var places = map[string]func(t *testing.T) place{
	"single": func(t *testing.T) place {
		r := redistest.Start(t)
		p := redistest.NewProxy(t, r.Addr())
		return place{
			url: p.URL(), dump: r.Dump, primaries: func() []*redistest.Server { return []*redistest.Server{r} },
			of:    func(string) (*redistest.Server, *redistest.Proxy) { return r, p },
			whole: func() {},
		}
	},
	"sentinel": func(t *testing.T) place {
		trio := redistest.StartTrioWith(t, redistest.TrioOptions{Proxied: true, DownAfter: time.Minute})
		r := trio.Primary()
		return place{
			url: trio.URL(), dump: r.Dump, primaries: func() []*redistest.Server { return []*redistest.Server{r} },
			of:    func(string) (*redistest.Server, *redistest.Proxy) { return r, trio.ProxyOf(r) },
			whole: trio.WaitWhole,
		}
	},
	"cluster": func(t *testing.T) place {
		c := redistest.StartClusterWith(t, redistest.ClusterOptions{Proxied: true, Args: []string{"--cluster-node-timeout", "60000"}})
		return place{
			url: c.URL(), dump: c.Dump, primaries: c.Primaries,
			of: func(key string) (*redistest.Server, *redistest.Proxy) {
				r := c.PrimaryOf(key)
				return r, c.ProxyOf(r)
			},
			whole: c.WaitWhole,
		}
	},
}

// everywhere runs a scenario on one Redis, and in the full form on each topology.
func everywhere(t *testing.T, run func(t *testing.T, p place)) {
	t.Helper()
	for name, start := range places {
		if *full || name == "single" {
			t.Run(name, func(t *testing.T) { run(t, start(t)) })
		}
	}
}

// snapshot remembers what the primaries hold, and returns a function that restarts each
// of them with that, so that everything since is lost.
func (p place) snapshot() (rollback func()) {
	primaries := p.primaries()
	held := make([]redistest.Snapshot, len(primaries))
	for i, r := range primaries {
		held[i] = r.Snapshot()
	}
	return func() {
		for i, r := range primaries {
			r.Rollback(held[i])
		}
		p.whole()
	}
}
