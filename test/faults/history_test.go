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

// deed is what a caller asks for.
type deed string

// The deeds. A check is an introspection of an access token; a revocation is of
// the token that is presented, access or refresh.
const (
	issue   deed = "issue"
	refresh deed = "refresh"
	revoke  deed = "revoke"
	check   deed = "check"
)

// outcome is what a caller knows once its request is over.
type outcome string

// The outcomes. What is neither of the first two is no verdict: it may have been
// done, or not, and a caller asks again.
const (
	done    outcome = "done"    // of a check: the token is active
	refused outcome = "refused" // for good; of a check: the token is not active
	unknown outcome = "unknown" // APIG.0613, or nothing that can be read came back
)

// The codes that callers are told in these tests, where all goes well.
const (
	unavailable    = "APIG.0613"
	refreshInvalid = "APIG.2202"
	accessInvalid  = "APIG.2203"
)

// attempt is one request, and what its caller was told.
type attempt struct {
	deed    deed
	server  int    // the one that was asked
	token   string // that was presented; "" of an issue
	outcome outcome
	code    string           // the error code that came back, if one did
	pair    authsvctest.Pair // of an issue or a refresh that is done

	call, back time.Duration // when it was sent, and was over, since the history began
}

// claims is what a token of a history says of itself.
func claims(text string) token.Claims {
	c, err := token.Decode(text)
	if err != nil {
		panic(err) // ask takes in nothing else
	}
	return c
}

// service is the processes of one service, as their callers know them. It keeps
// the history of what it was asked. Its methods are safe for concurrent use.
type service struct {
	t       *testing.T
	servers []*authsvctest.Server
	start   time.Time

	refreshed, unsure atomic.Int64 // refreshes done, and attempts of unknown outcome, so far

	mu       sync.Mutex
	attempts []attempt
}

// answerTimeout is how long a caller waits for an answer. It is longer than any
// deadline of the service, so that it is the service that is measured.
const answerTimeout = 30 * time.Second

// newService begins a history.
func newService(t *testing.T, servers ...*authsvctest.Server) *service {
	for _, s := range servers {
		s.Client.Timeout = answerTimeout
	}
	return &service{t: t, servers: servers, start: time.Now()}
}

// history is all that was over so far.
func (s *service) history() []attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.attempts)
}

// ask makes one request, of a server by its number, counted round and round.
func (s *service) ask(d deed, server int, presented string) attempt {
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

// understand is what a caller makes of an answer.
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

// longest is the longest that an answer took.
func longest(history []attempt) (d time.Duration) {
	for _, a := range history {
		d = max(d, a.back-a.call)
	}
	return d
}

// back tells how long after the end of a fault the first success came, and how
// long after it the last failure, before another time. Both are 0 where there was
// none.
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

// insist asks one server after the other until one gives a verdict, as a real
// client does, or ctx ends. It returns the last attempt.
func (s *service) insist(ctx context.Context, d deed, first int, presented string) attempt {
	for server := first; ; server++ {
		a := s.ask(d, server, presented)
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

// wish is something to insist on.
type wish struct {
	deed  deed
	token string
}

// together insists on several wishes at once, each from another server on, and
// returns what became of them, in their order.
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

// serve starts a process of a build on each of some stores, as one service, and
// begins its history.
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
