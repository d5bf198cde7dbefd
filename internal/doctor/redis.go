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

// RedisOptions says how the service uses its Redis.
type RedisOptions struct {
	// AllowEviction reduces an eviction policy that drops grants to a warning: the
	// operator accepts it.
	AllowEviction bool
	// TLS is set if the service uses TLS; commands to paste then do so as well.
	TLS bool
	// Cluster is set if the service treats it as a Cluster.
	Cluster bool
	// Timeout is how long a request waits for the store, in all.
	Timeout time.Duration
}

// CheckTimeout returns how long CheckRedis may take. A check makes some forty round trips
// to each primary, one after the other, and a Redis within reach answers ten of them
// within the time that a request has.
func CheckTimeout(request time.Duration) time.Duration { return max(5*time.Second, 5*request) }

// RedisStore is a store in Redis, as package store opens it. If a primary does not
// answer, its methods return errors that wrap a *redisconn.Error.
type RedisStore interface {
	Facts(context.Context) ([]redisconn.NodeFacts, error)
	CheckPermissions(context.Context) error
	Now(context.Context) (time.Time, error)
}

// CheckRedis returns the findings about the facts and the permissions of every primary
// of a store. If a primary does not answer, it returns an error besides the findings
// about the others.
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

// Unavailable returns the finding that a store did not answer, or not correctly.
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
		Fix:  "Check that Redis is running, that no firewall is in the way, that it is not too far away for --store-timeout, and that --store has the right host, port and database, and rediss if and only if Redis uses TLS.",
	}
	switch cause.Reason {
	case redisconn.Replica:
		f.Check = RedisRole
		f.Why = "What is read from it may be out of date, and it accepts no writes, so the service does not use it."
		f.Fix = "Set --store to the host and port of the primary, or to a URL that finds it: redis+sentinel:// or redis+cluster://."
	case redisconn.SentinelRefuses:
		f.Fix = "Correct --store-sentinel-user and --store-sentinel-password: Sentinels have users of their own, which need sentinel|get-master-addr-by-name, sentinel|sentinels, sentinel|master, subscribe, ping and role."
	case redisconn.UnknownPrimary:
		f.What = "The Sentinels know no primary with the name in --store."
		f.Fix = "Correct the name, which follows the hosts: redis+sentinel://HOST,HOST/NAME/DB. SENTINEL MASTERS lists the names."
	case redisconn.IsNoSentinel:
		f.Fix = "List Sentinels in a redis+sentinel:// URL (they usually listen on port 26379), or use redis:// for this Redis."
	case redisconn.IsSentinel:
		f.Fix = "Write --store as redis+sentinel://HOST,HOST/NAME/DB, with the Sentinels' name for the primary."
	case redisconn.IsNoCluster:
		f.Fix = "It is not a Cluster: write --store as redis://."
	case redisconn.ClusterDown:
		f.What = "The Cluster, or part of it, is down: " + text
		f.Fix = "redis-cli --cluster check HOST:PORT  # lists the slots that no node serves; with cluster-require-full-coverage no, the others are served"
	case redisconn.NotPermitted:
		f.Fix = "Grant the user what it lacks, on every server: ACL SETUSER USER +COMMAND, and the same in the ACL file or in redis.conf."
	case redisconn.NoUser:
		f.Fix = "Correct the user and the password: in --store, percent-encoded, or in the file that AUTHSVC_STORE_PASSWORD_FILE names. Every server needs the user, including replicas: users are not replicated."
	case redisconn.TLSRefused:
		f.Fix = "Set --store-ca, --store-cert and --store-key to the right PEM files, and use the host name in the certificate in --store."
	}
	return f
}

// Permissions returns the findings about missing permissions.
func Permissions(refused *redisconn.PermissionError, opts RedisOptions) []Finding {
	var found []Finding
	for _, n := range refused.Nodes {
		f := Finding{
			Check: RedisPermissions, Subject: n.Addr, Severity: Error,
			What: "It refuses what the service needs: " + n.What() + ".",
			Why:  "Requests that need it are answered with APIG.0613.",
			Fix:  "Remove the rename-command lines from redis.conf, or use a Redis that has the commands.",
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
