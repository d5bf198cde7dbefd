package store

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// The forms of a store's URL. What is not a letter or a digit in a user or a
// password is percent-encoded; rediss is redis over TLS.
const (
	formRedis    = "redis://user:password@host:port/db"
	formSentinel = "redis+sentinel://user:password@host:port,host:port/primary/db"
	formCluster  = "redis+cluster://user:password@host:port,host:port"
	formUnix     = "unix://user:password@/path?db=0"
)

type topology int

const (
	single topology = iota
	sentinel
	cluster
)

// target is what a URL says of a Redis.
type target struct {
	topology
	tls            bool
	addrs          []string // host:port, or one path that begins with /; the Sentinels' for sentinel
	user, password string
	primary        string // the name that the Sentinels know it by
	db             int
}

// schemes are those of a Redis, and how each is written.
var schemes = map[string]struct {
	topology
	form string
	port string // where none is given
	tls  bool
}{
	"redis":           {single, formRedis, "6379", false},
	"rediss":          {single, formRedis, "6379", true},
	"unix":            {single, formUnix, "", false},
	"redis+sentinel":  {sentinel, formSentinel, "26379", false},
	"rediss+sentinel": {sentinel, formSentinel, "26379", true},
	"redis+cluster":   {cluster, formCluster, "6379", false},
	"rediss+cluster":  {cluster, formCluster, "6379", true},
}

// parseURL reads the URL of a Redis. Its errors say what it must be, and no error holds a part of it: one with a / #
// or ? that was not percent-encoded has a piece of a password in any of its parts.
func parseURL(raw string) (target, error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	s, ok := schemes[scheme]
	if !ok {
		return target{}, errScheme
	}
	malformed := func(why string) error { return errors.New("must be of the form " + s.form + why) }
	const encode = "; in the user and the password, percent-encode what is not a letter or a digit"
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
		return target{}, malformed(encode)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(path+query, "@") {
		return target{}, malformed(encode)
	}
	t := target{topology: s.topology, tls: s.tls}
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		var err1, err2 error
		t.user, err1 = url.PathUnescape(user)
		t.password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil || strings.Contains(authority[:at], "@") {
			return target{}, malformed(encode)
		}
		hosts = authority[at+1:]
	}

	db := ""
	switch {
	case scheme == "unix":
		if hosts != "" || path == "" {
			return target{}, malformed("")
		}
		t.addrs = []string{"/" + path}
	case s.topology == sentinel:
		t.primary, db, _ = strings.Cut(path, "/")
		if t.primary == "" {
			return target{}, malformed(": the name of the primary is missing")
		}
	default:
		db = path
	}
	if scheme != "unix" {
		for host := range strings.SplitSeq(hosts, ",") {
			addr, ok := address(host, s.port)
			if !ok {
				return target{}, malformed(encode)
			}
			t.addrs = append(t.addrs, addr)
		}
		if s.topology == single && len(t.addrs) > 1 {
			return target{}, malformed(": several hosts are for redis+sentinel:// and redis+cluster://")
		}
	}
	if query != "" {
		value, ok := strings.CutPrefix(query, "db=")
		if !ok || s.topology != single || db != "" {
			return target{}, malformed(": it takes no settings behind a ?, but the database of unix:// (?db=0)")
		}
		db = value
	}
	if db != "" {
		n, err := strconv.Atoi(db)
		if err != nil || n < 0 {
			return target{}, malformed(": the database is a number from 0")
		}
		t.db = n
	}
	if t.topology == cluster && t.db != 0 {
		return target{}, malformed(": a Cluster has database 0 only")
	}
	return t, nil
}

// address is host:port, with the port that is usual where none is given.
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

// URLFacts is what other settings depend on in a store's URL.
type URLFacts struct {
	Memory   bool // memory://
	TLS      bool
	Sentinel bool
	Cluster  bool
	User     bool   // it names one
	Password bool   // it holds one
	Hosts    string // host:port, with commas between; or the path of a socket
}

// CheckURL checks a store's URL without opening it. Its errors hold no part of
// the URL, which may be a password.
func CheckURL(raw string) (URLFacts, error) {
	if rest, ok := strings.CutPrefix(raw, memoryURL); ok {
		if rest != "" {
			return URLFacts{}, errors.New("must be memory:// alone, which takes no address")
		}
		return URLFacts{Memory: true}, nil
	}
	t, err := parseURL(raw)
	return URLFacts{
		TLS: t.tls, Sentinel: t.topology == sentinel, Cluster: t.topology == cluster, User: t.user != "", Password: t.password != "", Hosts: strings.Join(t.addrs, ","),
	}, err
}

// CheckPrefix checks what keys shall begin with. A brace would put all keys of a
// Cluster into one slot, and a * or ? would be a pattern.
func CheckPrefix(prefix string) error {
	letter := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	odd := func(r rune) bool { return r >= 0x80 || !letter(byte(r)) && !strings.ContainsRune(".:_-", r) }
	if prefix == "" || len(prefix) > maxPrefix || !letter(prefix[0]) || strings.ContainsFunc(prefix, odd) {
		return errors.New("must be up to 64 of A-Z a-z 0-9 . : _ - and begin with a letter or a digit")
	}
	return nil
}

const maxPrefix = 64
