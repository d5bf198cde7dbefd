package redisconn

import "time"

// What a connection waits for, and how long. Everything that depends on how far away
// Redis is derives from the deadline of a request (Options.Timeout), T:
//
//	T/3, at least 100 ms, or T if that is shorter
//	    one read or write; waiting for a connection. So a request has time for
//	    another attempt if a connection dies, and for all its round trips.
//	T, at least 500 ms
//	    making a connection, with TLS and with asking the Sentinels. It goes on when
//	    the request that began it has given up, and serves the next one.
//	    For how long nothing must have succeeded for a breaker to open; one of its
//	    pings. A new connection must be able to serve its first call within that.
//	T/10
//	    how far away Redis may be: Reach.
//
// What has other reasons does not derive from it: how long a connection to a single Redis
// is used (roleValid), how often a Redis that failed is pinged (pingEvery), and the few
// milliseconds before a command is sent again (pause).
//
// The requests' own deadline, the clock's measurement and readiness take T as it is. A
// check of Redis has doctor.CheckTimeout, five times T. The shards are asked whether they
// answer for no longer than T, nor than store/redis allows (longestRead): what is not
// answered for longer counts as an outage.
type timeouts struct {
	io    time.Duration // for one read or write
	whole time.Duration // to make a connection and be answered
}

// The timeouts that are not shortened further, however short the deadline of a request.
const (
	defaultTimeout = 300 * time.Millisecond // for Options.Timeout of 0
	leastIO        = 100 * time.Millisecond
	leastWhole     = 500 * time.Millisecond // longer than a restart that nobody needs to notice
)

func timeoutsOf(request time.Duration) timeouts {
	if request <= 0 {
		request = defaultTimeout
	}
	return timeouts{io: max(request/3, min(request, leastIO)), whole: max(request, leastWhole)}
}

// roundTrips is how many a request must have time for: up to six for a new connection
// (TCP, two for TLS, HELLO, SELECT, ROLE), and those of its own: a refresh reads, swaps,
// and sends the script if Redis does not have it. It leaves one in ten to everything else.
const roundTrips = 10

// Reach returns how long a round trip to Redis may take if requests have this deadline.
// Over a connection that exists, a request takes two or three; but connections are
// renewed, and some request is the first to use a new one.
func Reach(timeout time.Duration) time.Duration { return timeout / roundTrips }

// LongestRead returns how long a single answer of Redis is waited for.
func LongestRead(timeout time.Duration) time.Duration { return timeoutsOf(timeout).io }

// TimeoutFor returns the shortest deadline of requests for which a Redis is within reach.
func TimeoutFor(roundTrip time.Duration) time.Duration { return roundTrip * roundTrips }
