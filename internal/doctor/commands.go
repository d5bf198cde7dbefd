package doctor

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,@%+-]+$`)

// shell returns a command to paste into a POSIX shell.
func shell(words ...string) string {
	quoted := slices.Clone(words)
	for i, w := range quoted {
		if !plainWord.MatchString(w) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// count returns "1 key" or "2 keys".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// cli returns a command for this primary.
func (n node) cli(args ...string) string { return cli(n.Addr, n.DB, n.opts, args...) }

// configSet returns the command that changes settings until the primary restarts, and
// how to keep them. A Redis that hides its settings does not let them be changed either.
func (n node) configSet(namesAndValues ...string) string {
	var lines []string
	for i := 0; i < len(namesAndValues); i += 2 {
		lines = append(lines, namesAndValues[i]+" "+namesAndValues[i+1])
	}
	keep := strings.Join(lines, ", ")
	if !n.Knows("config|get") {
		return "Set it in redis.conf, or where this Redis is managed: " + keep
	}
	return n.cli(append([]string{"CONFIG", "SET"}, namesAndValues...)...) + "  # and in redis.conf: " + keep
}

func cli(addr string, db int, opts RedisOptions, args ...string) string {
	words := []string{"redis-cli", "-s", addr} // a socket
	if !strings.HasPrefix(addr, "/") {
		host, port := split(addr)
		words = []string{"redis-cli", "-h", host}
		if port != "" {
			words = append(words, "-p", port)
		}
	}
	if opts.TLS {
		words = append(words, "--tls")
	}
	if db != 0 {
		words = append(words, "-n", strconv.Itoa(db))
	}
	return shell(append(words, args...)...)
}

// split returns the host and the port of an address; the port may be empty.
func split(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, ""
	}
	return host, port
}
