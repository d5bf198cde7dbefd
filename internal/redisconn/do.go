package redisconn

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// repeats is how often a command is sent again if its connection fails.
const repeats = 2

// Cmd is a command for the primary of one key.
type Cmd struct {
	Args []any // the name first; they must not be changed afterwards
	// Repeatable is set if it may be executed twice, and after its caller has given up.
	// Only then is it sent again if the connection fails.
	Repeatable bool
}

// Do sends a command to the primary of a key and returns its reply: a string, an int64,
// or a []any or map[any]any of replies. The error is ErrNil for the nil reply, else an
// *Error. Do returns soon after ctx ends at the latest; the command may still be executed
// then.
func (r *Conn) Do(ctx context.Context, key string, cmd Cmd) (any, error) {
	reply, err := r.do(ctx, key, cmd)
	if err == redis.Nil { //nolint:errorlint // Sentinels that know no primary answer nil as well; go-redis wraps that
		return nil, ErrNil
	}
	if err != nil {
		return nil, failed(err)
	}
	return reply, nil
}

func (r *Conn) do(ctx context.Context, key string, cmd Cmd) (any, error) {
	for n := 0; ; n++ {
		reply, err := r.once(ctx, key, cmd.Args)
		if !cmd.Repeatable || n == repeats || !isConnectionError(err) || !pause(ctx) {
			return reply, err
		}
	}
}

// once queues a command for the primary of a key and waits for its reply, or for
// ctx to end.
func (r *Conn) once(ctx context.Context, key string, args []any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n, err := r.nodeOf(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := n.breaker.refuses(); err != nil {
		return nil, err
	}
	cmd := redis.NewCmd(ctx, args...)
	err = n.pipe.Submit(ctx, withSpan(ctx, cmd)).WaitContext(ctx)
	r.note(n, key, err)
	if err == nil {
		return cmd.Val(), nil
	}
	if r.cluster != nil && isRedirection(err) { // the slot is elsewhere, or being moved
		moved := sentOnce{redis.NewCmd(ctx, args...)}
		if err = r.cluster.Process(ctx, moved); err == nil {
			return moved.Val(), nil
		}
	}
	return nil, err // without reading cmd, which may still be written to
}

// sentOnce is a command that go-redis redirects to other nodes, but never sends to a node
// twice.
type sentOnce struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (sentOnce) NoRetry() bool { return true }

// note reports the result of a call for a key to the breaker of its node.
func (r *Conn) note(n *node, key string, err error) {
	switch {
	case err == nil || isAnswer(err) && !isOfSentinels(err):
		n.breaker.succeeded()
	case isUnanswered(err):
		if r.cluster != nil {
			n.missed.Store(&key)
		}
		n.breaker.failed(err)
	}
}

// pause waits a few milliseconds, at random, and reports whether ctx has not ended.
func pause(ctx context.Context) bool {
	t := time.NewTimer(2*time.Millisecond + rand.N(8*time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Script is a Lua script, which Redis caches.
type Script struct{ source, sha string }

// NewScript returns the script with a source.
func NewScript(source string) *Script { return &Script{source, redis.NewScript(source).Hash()} }

// Run runs a script on one key. It must be safe to repeat (see Cmd.Repeatable). The reply
// and the error are like those of Do.
func (r *Conn) Run(ctx context.Context, s *Script, key string, args ...any) (any, error) {
	all := append(append(make([]any, 0, 4+len(args)), "EVALSHA", s.sha, 1, key), args...)
	reply, err := r.Do(ctx, key, Cmd{all, true})
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // Redis does not have it yet, or no longer; nothing was done
		all[0], all[1] = "EVAL", s.source
		reply, err = r.Do(ctx, key, Cmd{all, true})
	}
	return reply, err
}

// Commands returns the commands that Run sends, for CheckPermissions.
func (s *Script) Commands(key string, args ...any) [][]any {
	return [][]any{
		append([]any{"EVAL", s.source, 1, key}, args...),
		append([]any{"EVALSHA", s.sha, 1, key}, args...),
	}
}
