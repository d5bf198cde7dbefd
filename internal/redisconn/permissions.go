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

// PermissionError holds everything that the primaries do not permit, although the service
// needs it.
type PermissionError struct{ Nodes []Refusal }

// Refusal holds what one primary does not permit.
type Refusal struct {
	Addr     string   // host:port
	User     string   // as the ACL has it
	Commands []string // not permitted, as the ACL names them: eval, client|setname
	Keys     string   // the pattern of the service's keys if these are not permitted; else empty
	Missing  []string // commands that the server does not have, or has under another name
}

// Grant returns the command that grants the user what it lacks, or "" if there is none
// because the server lacks it.
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

// What returns the refusal in words, or "" if nothing is refused.
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

// Error returns a line for each primary: what it refuses, and the command that grants it.
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

// CheckPermissions runs commands on every primary, so that a missing permission is found
// before a request needs it: the commands of the connection itself, and those that needs
// returns for a key. Nobody else uses the key; the commands must create and delete it, or
// set an expiry.
//
// The error wraps a *PermissionError with everything that is refused, an *Error if a
// primary does not answer, or both. Whether a command succeeds does not matter: the error
// of a Redis that is full or still loading differs from that for a missing permission.
func (r *Conn) CheckPermissions(ctx context.Context, needs func(key string) [][]any) error {
	var mu sync.Mutex
	var refused []Refusal
	err := r.eachPrimary(ctx, func(ctx context.Context, addr string, c *redis.Client) error {
		// In a Cluster the key need not belong to the node that is checked: Redis checks
		// the permissions before the slot.
		commands := append([][]any{{"ROLE"}, {"TIME"}}, needs(r.prefix+"{check}"+rand.Text())...)
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
	if r.sentinels != nil {
		refused = append(refused, r.sentinels.refusals(ctx)...)
	}
	if len(refused) == 0 {
		return err
	}
	slices.SortFunc(refused, func(a, b Refusal) int { return cmp.Compare(a.Addr, b.Addr) })
	return errors.Join(&PermissionError{refused}, err)
}

// check runs the commands one by one: in a pipeline, go-redis does not attach the error
// of a new connection to the commands.
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
			if command = cmp.Or(command, strings.ToLower(args[0].(string))); command != "role" { // INFO replaces it
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

// refusalKind is what a reply of Redis says about permissions.
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

// refusalOf returns the kind of refusal that an error is, and the command if Redis names
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
