package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity int

// The severities.
const (
	Note    Severity = iota // worth knowing
	Warning                 // can cost tokens or calls, now or later
	Error                   // makes tokens wrong, loses them silently, or keeps the service from working
)

var severities = []string{"note", "warning", "error"}

// String returns the severity in one word, as in JSON.
func (s Severity) String() string { return severities[s] }

// MarshalText implements encoding.TextMarshaler, using String.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Level returns the level at which a finding of this severity is logged.
func (s Severity) Level() slog.Level {
	return []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError}[s]
}

// Finding is one thing that is wrong. Its texts hold no secret.
type Finding struct {
	Check    string   `json:"check"`   // one of Checks
	Subject  string   `json:"subject"` // the address, file or setting concerned
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why"` // what can happen
	Fix      string   `json:"fix"` // to paste into a shell, if it is a command
}

// String returns a paragraph: the check and the subject, what is wrong, why that
// matters, and the fix. It ends without a newline, and no part of it begins a new line.
func (f Finding) String() string {
	one := func(s string) string { return strings.ReplaceAll(s, "\n", "?") }
	return fmt.Sprintf("%s  %s  %s\n%s\n  Why: %s\n  Fix: %s", f.Severity, f.Check, one(f.Subject), one(f.What), f.Why, one(f.Fix))
}

// Warning returns what is wrong and the fix in one line.
func (f Finding) Warning() string { return f.What + " Fix: " + f.Fix }

// Log writes the finding to a log, at its level.
func (f Finding) Log(log *slog.Logger) {
	what := f.What
	if strings.HasPrefix(f.Check, "redis_") {
		what = "Redis: " + what // the text calls the subject "it"
	}
	log.Log(context.Background(), f.Severity.Level(), what,
		"check", f.Check, "severity", f.Severity.String(), "subject", f.Subject, "why", f.Why, "fix", f.Fix)
}

// The checks. A name is never changed: scripts and metrics know it.
const (
	RedisUnavailable = "redis_unavailable"
	RedisPermissions = "redis_permissions"
	RedisReadable    = "redis_readable"
	RedisRole        = "redis_role"
	RedisVersion     = "redis_version"
	RedisDistance    = "redis_distance"
	RedisTopology    = "redis_topology"
	RedisEviction    = "redis_eviction"
	RedisMemory      = "redis_memory"
	RedisPersistence = "redis_persistence"
	RedisDisk        = "redis_disk"
	RedisLoading     = "redis_loading"
	RedisReplicas    = "redis_replicas"
	RedisMinReplicas = "redis_min_replicas"
	RedisClock       = "redis_clock"
	RedisExpiry      = "redis_expiry"

	KeyringFile        = "keyring_file"
	KeyringPermissions = "keyring_permissions"
	KeyringAge         = "keyring_age"
	AppsFile           = "apps_file"
	AppsPermissions    = "apps_permissions"
	AppsTTL            = "apps_ttl"
	TLSCertificate     = "tls_certificate"
	TrustedProxies     = "trusted_proxies"
	WritableFiles      = "writable_files"
	PublicListeners    = "public_listeners"
)

// Checks returns the names of all checks, always in this order.
func Checks() []string {
	return slices.Concat([]string{RedisRole}, RedisChecks(), []string{
		KeyringFile, KeyringPermissions, KeyringAge, AppsFile, AppsPermissions, AppsTTL, TLSCertificate, TrustedProxies,
		WritableFiles, PublicListeners,
	})
}

// RedisChecks returns the names of the checks of a Redis that is in use.
func RedisChecks() []string {
	return []string{
		RedisUnavailable, RedisPermissions, RedisReadable, RedisVersion, RedisTopology, RedisDistance, RedisEviction, RedisMemory, RedisPersistence,
		RedisDisk, RedisLoading, RedisReplicas, RedisMinReplicas, RedisClock, RedisExpiry,
	}
}

// Worst returns the highest severity of findings; that of none is Note.
func Worst(found []Finding) (worst Severity) {
	for _, f := range found {
		worst = max(worst, f.Severity)
	}
	return worst
}

// Changes returns what is worth logging: the findings that have appeared since before,
// and those that are gone. Two findings are the same if their check, subject and
// severity are: the numbers in their texts may differ each time.
func Changes(before, after []Finding) (appeared, gone []Finding) {
	missing := func(from, in []Finding) (list []Finding) {
		for _, f := range from {
			if !slices.ContainsFunc(in, func(g Finding) bool {
				return f.Check == g.Check && f.Subject == g.Subject && f.Severity == g.Severity
			}) {
				list = append(list, f)
			}
		}
		return list
	}
	return missing(after, before), missing(before, after)
}
