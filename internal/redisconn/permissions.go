package redisconn

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// PermissionError is everything that primaries do not let the user do, though the
// service can't work without.
type PermissionError struct{ Nodes []Refusal }

// Refusal is what one primary does not let the user do.
type Refusal struct {
	Addr     string   // host:port
	User     string   // as the ACL has it
	Commands []string // not permitted, as the ACL names them: eval, client|setname
	Keys     string   // the pattern of the service's keys, where these are not permitted; else empty
	Missing  []string // commands that the server does not have, or has under another name
}

// Grant returns the command that permits the user what it lacks; empty where the
// server lacks it.
func (r Refusal) Grant() string {
	var rules []string
	for _, c := range r.Commands {
		rules = append(rules, "+"+c)
	}
	if r.Keys != "" {
		rules = append(rules, "~"+r.Keys)
	}
	if len(rules) == 0 {
		return ""
	}
	return "ACL SETUSER " + r.User + " " + strings.Join(rules, " ")
}

// What returns it in words; empty where nothing is refused.
func (r Refusal) What() string {
	var parts []string
	if len(r.Commands) > 0 {
		parts = append(parts, fmt.Sprintf("the user %s may not run %s", r.User, strings.Join(r.Commands, ", ")))
	}
	if r.Keys != "" {
		parts = append(parts, fmt.Sprintf("the user %s may not read and write the keys %s", r.User, r.Keys))
	}
	if len(r.Missing) > 0 {
		parts = append(parts, "the server has no command "+strings.Join(r.Missing, ", "))
	}
	return strings.Join(parts, "; ")
}

// Error returns a line for each primary: what it refuses, and the command that
// grants it.
func (e *PermissionError) Error() string {
	var all []string
	for _, n := range e.Nodes {
		text := "Redis at " + n.Addr + ": " + n.What()
		if grant := n.Grant(); grant != "" {
			text += "; there, run: " + grant
		}
		all = append(all, text)
	}
	return strings.Join(all, "\n")
}

// CheckPermissions runs commands on every primary, so that a missing permission is
// found before a request finds it: those of the connection itself, and those that
// needs returns for a key. No one else has the key; the commands make it and delete
// it, or set it an expiry.
//
// It fails with a *PermissionError that holds all that is refused, and with an *Error
// where a primary does not answer; with both, where both are so. Whether a command
// succeeds does not matter: a Redis that is full, or still reading its data, answers
// with another error than for what it does not permit.
func (r *Conn) CheckPermissions(ctx context.Context, needs func(key string) [][]any) error {
	var mu sync.Mutex
	var refused []Refusal
	err := r.eachPrimary(ctx, func(ctx context.Context, addr string, c *redis.Client) error {
		// In a Redis Cluster the key need not be one of the node that is checked: Redis
		// looks at the permissions before it looks for the slot.
		commands := append([][]any{{"ROLE"}, {"TIME"}}, needs(r.prefix+"check:"+rand.Text())...)
		if r.cluster != nil {
			commands[0] = []any{"CLUSTER", "SLOTS"}
			commands = append(commands, []any{"ASKING"})
		}
		n := Refusal{Addr: addr, User: userOf(c)}
		if err := n.check(ctx, c, commands, r.prefix); err != nil {
			return fmt.Errorf("checking the permissions on Redis at %s: %w", addr, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if n.What() != "" {
			refused = append(refused, n)
		}
		return nil
	})
	if err != nil {
		err = failed(err)
	}
	if len(refused) == 0 {
		return err
	}
	slices.SortFunc(refused, func(a, b Refusal) int { return cmp.Compare(a.Addr, b.Addr) })
	return errors.Join(&PermissionError{refused}, err)
}

// check runs the commands one by one: go-redis leaves what was wrong with a new
// connection off the commands of a pipeline.
func (r *Refusal) check(ctx context.Context, c *redis.Client, commands [][]any, prefix string) error {
	for _, args := range commands {
		_, err := repeat(ctx, func() (any, error) { return c.Do(ctx, args...).Result() })
		if err != nil && isConnectionError(err) {
			return err
		}
		if redis.HasErrorPrefix(err, "Error compiling script") {
			r.Missing = addOnce(r.Missing, "eval for a script with flags")
		}
		switch kind, command := refusalOf(err); kind {
		case commandRefused:
			r.Commands = addOnce(r.Commands, cmp.Or(command, strings.ToLower(args[0].(string))))
		case commandMissing:
			if command = cmp.Or(command, strings.ToLower(args[0].(string))); command != "role" { // INFO does instead
				r.Missing = addOnce(r.Missing, command)
			}
		case keysRefused:
			r.Keys = prefix + "*"
		}
	}
	return nil
}

func addOnce(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// refusalKind is what an answer of Redis says about permissions.
type refusalKind int

const (
	notRefused     refusalKind = iota
	commandRefused             // by the ACL
	commandMissing             // renamed, switched off, or of another version
	keysRefused                // by the ACL
)

var (
	refusedCommand = regexp.MustCompile(`the '([^']+)' command`)
	missingCommand = regexp.MustCompile("unknown command ['`]([^'`]+)['`]")
)

// refusalOf returns what kind of refusal an error is, and the command if Redis names
// it: it may be one that set up the connection.
func refusalOf(err error) (kind refusalKind, command string) {
	switch {
	case redis.HasErrorPrefix(err, "unknown command"):
		if m := missingCommand.FindStringSubmatch(err.Error()); m != nil {
			return commandMissing, strings.ToLower(m[1])
		}
		return commandMissing, ""
	case !redis.HasErrorPrefix(err, "NOPERM"):
		return notRefused, ""
	}
	if m := refusedCommand.FindStringSubmatch(err.Error()); m != nil {
		return commandRefused, m[1]
	}
	if strings.Contains(err.Error(), " key") {
		return keysRefused, ""
	}
	return commandRefused, ""
}
