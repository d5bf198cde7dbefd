package checkup

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity int

// The severities.
const (
	Note    Severity = iota // worth knowing
	Warning                 // can cost tokens or calls, now or on some day
	Error                   // makes tokens wrong or loses them without a word, or keeps the service from its work
)

var severities = []string{"note", "warning", "error"}

// String is the severity in one word, as in JSON.
func (s Severity) String() string { return severities[s] }

// MarshalText is String, for JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Level is the level at which a log has it.
func (s Severity) Level() slog.Level {
	return []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError}[s]
}

// Finding is one thing that is wrong. Its texts hold no secret.
type Finding struct {
	Check    string   `json:"check"`   // one of Checks
	Subject  string   `json:"subject"` // the address, the file or the setting that it is about
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why"` // what can come of it
	Fix      string   `json:"fix"` // to paste into a shell, where a command mends it
}

// The checks. A name is never changed: scripts and metrics know it.
const (
	RedisReach       = "redis_reach"
	RedisPermissions = "redis_permissions"
	RedisReadable    = "redis_readable"
	RedisRole        = "redis_role"
	RedisVersion     = "redis_version"
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
)

// Checks are the names of all checks, always in this order.
func Checks() []string {
	return slices.Concat([]string{RedisRole}, RedisChecks(), []string{
		KeyringFile, KeyringPermissions, KeyringAge, AppsFile, AppsPermissions, AppsTTL, TLSCertificate, TrustedProxies,
	})
}

// RedisChecks are the names of those that are made of a Redis that is in use.
func RedisChecks() []string {
	return []string{
		RedisReach, RedisPermissions, RedisReadable, RedisVersion, RedisTopology, RedisEviction, RedisMemory, RedisPersistence, RedisDisk,
		RedisLoading, RedisReplicas, RedisMinReplicas, RedisClock, RedisExpiry,
	}
}

// Worst is the highest severity of findings; that of none is Note.
func Worst(found []Finding) (worst Severity) {
	for _, f := range found {
		worst = max(worst, f.Severity)
	}
	return worst
}

// Changes tells what a log need hear of: the findings that are new since before,
// and those that are gone. Two are the same where check, subject and severity are:
// the numbers in a text may be others each time.
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

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,@%+-]+$`)

// shell is a command to paste into a POSIX shell.
func shell(words ...string) string {
	quoted := slices.Clone(words)
	for i, w := range quoted {
		if !plainWord.MatchString(w) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// count is "1 key" or "2 keys".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
