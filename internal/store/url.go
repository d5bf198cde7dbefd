package store

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"authsvc/internal/redisconn"
)

// The forms of a store's URL. In a user or a password, characters other than letters and
// digits are percent-encoded; rediss is redis over TLS.
const (
	formRedis    = "redis://user:password@host:port/db"
	formSentinel = "redis+sentinel://user:password@host:port,host:port/primary/db"
	formCluster  = "redis+cluster://user:password@host:port,host:port"
	formUnix     = "unix://user:password@/path?db=0"
)

const memoryURL = "memory://"

// schemes are the schemes of a Redis, with the form of each URL.
var schemes = map[string]struct {
	redisconn.Topology
	form string
	port string // the default
	tls  bool
}{
	"redis":           {redisconn.Single, formRedis, "6379", false},
	"rediss":          {redisconn.Single, formRedis, "6379", true},
	"unix":            {redisconn.Single, formUnix, "", false},
	"redis+sentinel":  {redisconn.Sentinel, formSentinel, "26379", false},
	"rediss+sentinel": {redisconn.Sentinel, formSentinel, "26379", true},
	"redis+cluster":   {redisconn.Cluster, formCluster, "6379", false},
	"rediss+cluster":  {redisconn.Cluster, formCluster, "6379", true},
}

// ParseTarget parses the URL of a store: memory://, or a Redis in one of the forms above.
// Its errors say what the URL must be, and hold no part of it: if it has a / # or ? that
// is not percent-encoded, any part can be a piece of a password.
func ParseTarget(raw string) (Target, error) {
	if rest, ok := strings.CutPrefix(raw, memoryURL); ok {
		if rest != "" {
			return Target{}, errors.New("must be memory:// alone, which takes no address")
		}
		return Target{Memory: true}, nil
	}
	scheme, rest, _ := strings.Cut(raw, "://")
	s, ok := schemes[scheme]
	if !ok {
		return Target{}, errScheme
	}
	malformed := func(why string) error { return errors.New("must be of the form " + s.form + why) }
	const encode = "; in the user and the password, percent-encode what is not a letter or a digit"
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
		return Target{}, malformed(encode)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(path+query, "@") {
		return Target{}, malformed(encode)
	}
	t := Target{Topology: s.Topology, TLS: s.tls}
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		var err1, err2 error
		t.User, err1 = url.PathUnescape(user)
		t.Password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil || strings.Contains(authority[:at], "@") {
			return Target{}, malformed(encode)
		}
		hosts = authority[at+1:]
	}

	db := ""
	switch {
	case scheme == "unix":
		if hosts != "" || path == "" {
			return Target{}, malformed("")
		}
		t.Addrs = []string{"/" + path}
	case s.Topology == redisconn.Sentinel:
		t.Primary, db, _ = strings.Cut(path, "/")
		if t.Primary == "" {
			return Target{}, malformed(": the name of the primary is missing")
		}
	default:
		db = path
	}
	if scheme != "unix" {
		for host := range strings.SplitSeq(hosts, ",") {
			addr, ok := address(host, s.port)
			if !ok {
				return Target{}, malformed(encode)
			}
			t.Addrs = append(t.Addrs, addr)
		}
		if s.Topology == redisconn.Single && len(t.Addrs) > 1 {
			return Target{}, malformed(": several hosts are for redis+sentinel:// and redis+cluster://")
		}
	}
	if query != "" {
		value, ok := strings.CutPrefix(query, "db=")
		if !ok || s.Topology != redisconn.Single || db != "" {
			return Target{}, malformed(": it takes no settings behind a ?, but the database of unix:// (?db=0)")
		}
		db = value
	}
	if db != "" {
		n, err := strconv.Atoi(db)
		if err != nil || n < 0 {
			return Target{}, malformed(": the database is a number from 0")
		}
		t.DB = n
	}
	return t, nil
}

// address returns host:port, with a default port.
func address(host, port string) (string, bool) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_:", r)
	}
	if err != nil || n == 0 || host == "" || strings.ContainsFunc(host, bad) || strings.Count(host, ":") == 1 {
		return "", false
	}
	return net.JoinHostPort(host, port), true
}

var errScheme = errors.New("must be memory://, or a Redis: redis://, rediss:// (TLS), unix://, redis+sentinel:// or redis+cluster://")
