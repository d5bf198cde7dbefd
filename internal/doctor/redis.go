package doctor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"authsvc/internal/redisconn"
)

// RedisOptions say how the service uses its Redis.
type RedisOptions struct {
	// AllowEviction makes a policy that drops grants a warning: the operator
	// insists on it.
	AllowEviction bool
	// TLS is whether the service speaks TLS to it; a command to paste then does
	// so as well.
	TLS bool
	// Cluster is whether the service takes it for a Cluster.
	Cluster bool
}

// RedisStore is a store in Redis, as package store opens it. Its methods fail with
// errors that hold a *redisconn.Error, where a primary does not answer.
type RedisStore interface {
	Facts(context.Context) ([]redisconn.NodeFacts, error)
	CheckPermissions(context.Context) error
	Now(context.Context) (time.Time, error)
}

// CheckRedis reads the facts and the permissions of every primary of a store, and
// judges them. A primary that does not answer makes it fail; what was found at the
// others is returned even so.
func CheckRedis(ctx context.Context, r RedisStore, opts RedisOptions) ([]Finding, error) {
	nodes, err := r.Facts(ctx)
	found := Redis(nodes, opts)
	if len(nodes) == 0 {
		return found, err
	}
	checked := r.CheckPermissions(ctx)
	if refused := (*redisconn.PermissionError)(nil); errors.As(checked, &refused) {
		return append(Permissions(refused, opts), found...), err
	}
	_, serves := r.Now(ctx) // a Cluster may be down though its nodes answer
	return found, cmp.Or(err, checked, serves)
}

// Unavailable returns the finding that a store did not answer, or not as it should.
func Unavailable(subject string, err error) Finding {
	cause := (*redisconn.Error)(nil)
	if !errors.As(err, &cause) {
		cause = &redisconn.Error{Err: err}
	}
	text := strings.Trim(strings.ReplaceAll(cause.Error(), "\n", "; "), ": .") + "."
	f := Finding{
		Check: RedisUnavailable, Subject: subject, Severity: Error,
		What: "It can't be used: " + text,
		Why:  "Until it answers, calls that need it are answered with APIG.0613.",
		Fix:  "See that Redis runs, that nothing is between it and this machine, and that --store names its host, its port and its database, and TLS (rediss) where it speaks TLS, and only there.",
	}
	switch cause.Reason {
	case redisconn.Replica:
		f.Check = RedisRole
		f.Why = "What is read from it may be old, and it takes no writes, so the service does not use it."
		f.Fix = "Give --store the host and the port of the primary, or whoever knows it: redis+sentinel:// or redis+cluster://."
	case redisconn.SentinelRefuses:
		f.Fix = "Correct --store-sentinel-user and --store-sentinel-password: Sentinels have users of their own, who may sentinel|get-master-addr-by-name, sentinel|sentinels, subscribe, ping and role."
	case redisconn.UnknownPrimary:
		f.What = "The Sentinels know no primary of the name that --store gives."
		f.Fix = "Correct the name, which is behind the hosts: redis+sentinel://HOST,HOST/NAME/DB. SENTINEL MASTERS has the names."
	case redisconn.IsNoSentinel:
		f.Fix = "Name Sentinels in a redis+sentinel:// URL (they usually listen on port 26379), or this Redis in a redis:// one."
	case redisconn.IsSentinel:
		f.Fix = "Write --store as redis+sentinel://HOST,HOST/NAME/DB, with the name that the Sentinels know the primary by."
	case redisconn.IsNoCluster:
		f.Fix = "It is no Cluster: write --store as redis://."
	case redisconn.ClusterDown:
		f.What = "The Cluster is down, or a part of it: " + text
		f.Fix = "redis-cli --cluster check HOST:PORT  # says which slots nobody serves; with cluster-require-full-coverage no, the others are served"
	case redisconn.NotPermitted:
		f.Fix = "Permit the user what it lacks, on every server: ACL SETUSER USER +COMMAND, and the same in the ACL file or in redis.conf."
	case redisconn.NoUser:
		f.Fix = "Correct the user and the password: in --store, percent-encoded, or in the file that AUTHSVC_STORE_PASSWORD_FILE names. Every server needs the user, replicas too: users are not replicated."
	case redisconn.TLSRefused:
		f.Fix = "Name the PEM files that fit with --store-ca, --store-cert and --store-key, and the host in --store as its certificate does."
	}
	return f
}

// Permissions returns the findings about what primaries do not let the service do.
func Permissions(refused *redisconn.PermissionError, opts RedisOptions) []Finding {
	var found []Finding
	for _, n := range refused.Nodes {
		f := Finding{
			Check: RedisPermissions, Subject: n.Addr, Severity: Error,
			What: "It refuses what the service needs: " + n.What() + ".",
			Why:  "Requests that need it are answered with APIG.0613.",
			Fix:  "Take the rename-command lines out of redis.conf, or choose a Redis that has the commands.",
		}
		sentinel := func(command string) bool { return strings.HasPrefix(command, "sentinel") || command == "subscribe" }
		if grant := n.Grant(); slices.ContainsFunc(n.Commands, sentinel) {
			f.Fix = "On each Sentinel: ACL SETUSER USER +" + strings.Join(n.Commands, " +")
		} else if grant != "" {
			f.Fix = cli(n.Addr, 0, opts, strings.Fields(grant)...) + "  # and the same in the ACL file or in redis.conf, and on its replicas"
		}
		found = append(found, f)
	}
	return found
}
