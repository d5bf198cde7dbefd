package faults

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"authsvc/internal/authsvctest"
	"authsvc/internal/token"
)

// deed is the kind of a request.
type deed string

// The kinds of requests. A check is an introspection of an access token; a revocation
// revokes the presented token, access or refresh.
const (
	issue   deed = "issue"
	refresh deed = "refresh"
	revoke  deed = "revoke"
	check   deed = "check"
)

// outcome is what a caller knows after its request.
type outcome string

// The outcomes. Only the first two are verdicts: after the third, the request may have
// been done or not, and the caller retries.
const (
	done    outcome = "done"    // of a check: the token is active
	refused outcome = "refused" // definitely; of a check: the token is not active
	unknown outcome = "unknown" // APIG.0613, or no readable answer
)

// The codes that callers get in these tests if all goes well.
const (
	unavailable    = "APIG.0613"
	refreshInvalid = "APIG.2202"
	accessInvalid  = "APIG.2203"
)

// attempt is one request and its answer.
type attempt struct {
	deed    deed
	server  int    // the number of the server
	token   string // the presented token; "" for an issue
	outcome outcome
	code    string           // the error code of the answer, if any
	pair    authsvctest.Pair // of an issue or a refresh that was done

	call, back time.Duration // when it was sent and answered, since the history began
}

// claims returns the claims of a token of a history.
func claims(text string) token.Claims {
	c, err := token.Decode(text)
	if err != nil {
		panic(err) // send accepts only tokens
	}
	return c
}

// service holds the processes of a service, as seen by their callers. It records the
// history of requests. Its methods are safe for concurrent use.
type service struct {
	t       *testing.T
	servers []*authsvctest.Server
	start   time.Time

	refreshed, unsure atomic.Int64 // refreshes done, and attempts of unknown outcome, so far

	mu       sync.Mutex
	attempts []attempt
}

// answerTimeout is how long a caller waits for an answer. It is longer than any
// deadline of the service, so that the service is measured, not the caller.
const answerTimeout = 30 * time.Second

// newService returns a service with an empty history.
func newService(t *testing.T, servers ...*authsvctest.Server) *service {
	for _, s := range servers {
		s.Client.Timeout = answerTimeout
	}
	return &service{t: t, servers: servers, start: time.Now()}
}

// history returns the attempts that are over so far.
func (s *service) history() []attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.attempts)
}

// send sends one request to a server by its number, modulo the number of servers.
func (s *service) send(d deed, server int, presented string) attempt {
	a := attempt{deed: d, server: server % len(s.servers), token: presented, call: time.Since(s.start)}
	path, app, params := "/oauth/token", authsvctest.Worker, []string{"token", presented}
	switch d {
	case issue:
		params = []string{"grant_type", "client_credentials"}
	case refresh:
		params = []string{"grant_type", "refresh_token", "refresh_token", presented}
	case revoke:
		path = "/oauth/revoke"
	case check:
		path, app = "/oauth/introspect", authsvctest.Gateway
	}
	res, err := s.servers[a.server].Post(path, app, params...)
	a.back = time.Since(s.start)
	a.understand(res, err)

	if a.outcome == unknown {
		s.unsure.Add(1)
	} else if d == refresh && a.outcome == done {
		s.refreshed.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts = append(s.attempts, a)
	return a
}

// understand sets the outcome of an attempt from its answer.
func (a *attempt) understand(res authsvctest.Answer, err error) {
	a.outcome = unknown
	if err != nil {
		return
	}
	a.code = res.Text("error_code")
	switch {
	case res.Status >= 500:
	case res.Status != 200, a.deed == check && !res.Active():
		a.outcome = refused
	case a.deed == issue, a.deed == refresh:
		a.pair = res.Pair()
		_, accessErr := token.Decode(a.pair.Access)
		_, refreshErr := token.Decode(a.pair.Refresh)
		if accessErr != nil || refreshErr != nil {
			a.pair, a.code = authsvctest.Pair{}, "a success without tokens"
			return
		}
		a.outcome = done
	default:
		a.outcome = done
	}
}

// longest returns how long the slowest answer took. What a revocation waits before it is
// acknowledged is left out.
func longest(history []attempt) (d time.Duration) {
	for _, a := range history {
		took := a.back - a.call
		if a.deed == revoke && a.outcome == done {
			took -= 300 * time.Millisecond
		}
		d = max(d, took)
	}
	return d
}

// back returns how long after the end of a fault the first success came, and how long
// after it the last failure, both before another time. They are 0 if there was none.
func back(history []attempt, end, before time.Duration) (first, last time.Duration) {
	for _, a := range history {
		switch after := a.back - end; {
		case after <= 0 || a.back >= before:
		case a.outcome == unknown:
			last = max(last, after)
		case first == 0 || after < first:
			first = after
		}
	}
	return first, last
}

// insist sends a request to one server after the other until one gives a verdict, as a
// real client does, or until ctx ends. It returns the last attempt.
func (s *service) insist(ctx context.Context, d deed, first int, presented string) attempt {
	for server := first; ; server++ {
		a := s.send(d, server, presented)
		if a.outcome != unknown {
			return a
		}
		select {
		case <-ctx.Done():
			return a
		case <-time.After(10*time.Millisecond + rand.N(30*time.Millisecond)):
		}
	}
}

// wish is a request to insist on.
type wish struct {
	deed  deed
	token string
}

// together insists on several wishes at once, each beginning with another server, and
// returns their attempts, in the order of the wishes.
func (s *service) together(ctx context.Context, first int, wishes ...wish) []attempt {
	became := make([]attempt, len(wishes))
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i, w := range wishes {
		all.Go(func() {
			<-begin
			became[i] = s.insist(ctx, w.deed, first+i, w.token)
		})
	}
	close(begin)
	all.Wait()
	return became
}

// serve starts one process of a build for each store, as one service, and begins its
// history.
func serve(t *testing.T, binary string, stores []string, args ...string) *service {
	t.Helper()
	site := authsvctest.NewSite(t)
	servers := make([]*authsvctest.Server, len(stores))
	for i, store := range stores {
		servers[i] = site.StartBinary(binary, store, args...)
	}
	for _, s := range servers {
		s.WaitReady()
	}
	return newService(t, servers...)
}
