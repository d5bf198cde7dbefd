package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// condition is an error of this package, to compare with errors.Is.
type condition string

// Error returns the condition in words.
func (c condition) Error() string { return string(c) }

const (
	// ErrNil is the nil reply: there is no such value. It is the only error reply that
	// is not an *Error.
	ErrNil condition = "Redis holds no such value"
	// ErrBreakerOpen is why a call was not tried. The error of Redis is in the chain and
	// in the text.
	ErrBreakerOpen condition = "the breaker is open: calls are refused until Redis answers"
	// ErrReplica is why a connection to a replica is not used.
	ErrReplica condition = "this Redis is a replica, which may lag behind; the store must be its primary"
	// ErrReplaced ends the outage of a Redis that is no longer needed: another node of
	// the Cluster has taken its slots.
	ErrReplaced condition = "another Redis has taken its place"

	errOutdated   condition = "the Sentinels have just named another primary"
	errIsSentinel condition = "this is a Sentinel, and no Redis: the store's URL must be redis+sentinel://"
	errNoSlots    condition = "the Cluster has no primary with a slot"
	errNotATime   condition = "Redis answered TIME with something else"
)

// Error is why a call has no result: Redis did not answer, or answered with an error, or
// was not sent the command because the breaker is open. The command may have been
// executed. The text holds no password and no argument of a command.
type Error struct {
	Reason Reason
	Err    error
}

// Error returns the text of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reason is the kind of an Error, as far as that determines what to do about it.
type Reason int

// The reasons.
const (
	Other           Reason = iota
	Replica                // the server is a replica
	NoUser                 // user or password are wrong or missing
	NotPermitted           // the user may not run a command, or not use a key
	TLSRefused             // one side refuses a certificate, or TLS itself
	IsSentinel             // the server is a Sentinel instead of a Redis
	IsNoSentinel           // the server is a Redis instead of a Sentinel
	SentinelRefuses        // the Sentinels refuse the user
	UnknownPrimary         // the Sentinels know no primary of that name
	IsNoCluster            // the server is not a node of a Cluster
	ClusterDown            // the Cluster, or the part of it that has the key, is down
)

// reasonOf returns the Reason for an error of go-redis or of this package.
func reasonOf(err error) Reason {
	switch {
	case isAnswer(err):
		return reasonOfAnswer(err)
	case errors.Is(err, ErrReplica):
		return Replica
	case errors.Is(err, errIsSentinel):
		return IsSentinel
	case errors.Is(err, errNoSlots):
		return ClusterDown
	case isTLSError(err):
		return TLSRefused
	}
	return Other
}

func reasonOfAnswer(err error) Reason {
	ofSentinels := isOfSentinels(err)
	kind, command := refusalOf(err)
	switch {
	case ofSentinels && (kind == commandRefused || redis.IsAuthError(err)):
		return SentinelRefuses
	case ofSentinels && errors.Is(err, redis.Nil):
		return UnknownPrimary
	case kind == commandMissing && command == "sentinel":
		return IsNoSentinel
	case kind == commandRefused, kind == keysRefused:
		return NotPermitted
	case redis.IsAuthError(err):
		return NoUser
	case redis.IsClusterDownError(err):
		return ClusterDown
	case redis.HasErrorPrefix(err, noCluster):
		return IsNoCluster
	}
	return Other
}

// The texts of errors for which neither go-redis nor Redis has a type.
const (
	allSentinels = "redis: all sentinels specified in configuration are unreachable"
	noCluster    = "This instance has cluster support disabled"
	// argsOfUnknown follows the name of a command that Redis does not know.
	argsOfUnknown = ", with args beginning with"
)

// isTLSError reports whether a TLS handshake failed because one side refused it.
// crypto/tls has no exported type for an alert; it wraps one in a net.OpError.
func isTLSError(err error) bool {
	var cert *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var op *net.OpError
	return errors.As(err, &cert) || errors.As(err, &header) ||
		errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// isTimeout reports whether an error says only that something took too long.
func isTimeout(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout)
}

// failed wraps an error in an *Error.
func failed(err error) error {
	if known := (*Error)(nil); errors.As(err, &known) {
		return err
	}
	reason := reasonOf(err)
	if text, _, cut := strings.Cut(err.Error(), argsOfUnknown); cut {
		err = answer(text) // without the keys and values that follow
	}
	return &Error{reason, err}
}

// answer is an error reply of Redis, cut short.
type answer string

// Error returns the answer.
func (a answer) Error() string { return string(a) }

// RedisError implements redis.Error.
func (answer) RedisError() {}

// isAnswer reports whether an error is a reply of Redis.
func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

// isConnectionError reports whether a connection failed: the error is neither a reply of
// Redis nor our own refusal to send the command.
func isConnectionError(err error) bool {
	return err != nil && !errors.Is(err, ErrBreakerOpen) && !isAnswer(err) &&
		!errors.Is(err, redis.ErrAutoPipelineQueueFull) && !errors.Is(err, redis.ErrClosed)
}

// isOfSentinels reports whether the Sentinels named no primary: what they answered is in
// the error, as if Redis had.
func isOfSentinels(err error) bool { return strings.Contains(err.Error(), allSentinels) }

// isUnanswered reports whether a primary that was asked has not answered. If the Sentinels
// refuse this user, or know no primary of that name, none has: only they have.
func isUnanswered(err error) bool {
	return isConnectionError(err) || err != nil && isOfSentinels(err)
}

func isRedirection(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask
}
