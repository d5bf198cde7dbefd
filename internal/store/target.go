package store

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"authsvc/internal/redisconn"
)

// Target says which store to use and how to connect to it. ParseTarget returns that of a
// URL; what a URL can't hold is set afterwards. It holds passwords: print it only with
// String.
type Target struct {
	Memory bool // in this process; everything else is empty then

	Topology       redisconn.Topology
	Addrs          []string // host:port, or one path that begins with /; the Sentinels' for Sentinel
	Primary        string   // the Sentinels' name for it
	DB             int
	TLS            bool
	User, Password string

	// SentinelUser and SentinelPassword are for the Sentinels, which have users of their
	// own; empty: no authentication.
	SentinelUser, SentinelPassword string
	// Prefix begins each key (see CheckPrefix); empty: DefaultPrefix.
	Prefix string
	// CAFile holds the certificates (PEM) to trust instead of the system's; CertFile and
	// KeyFile hold the client certificate. TLS only.
	CAFile, CertFile, KeyFile string
}

// DefaultPrefix begins every key of authsvc in Redis, unless another is set.
const DefaultPrefix = "authsvc:"

// String returns the addresses of the store: host:port, separated by commas, or the path
// of a socket.
func (t Target) String() string {
	if t.Memory {
		return memoryURL
	}
	return strings.Join(t.Addrs, ",")
}

// Part is a part of a Target that an operator sets separately.
type Part int

// The parts.
const (
	URL Part = iota
	Password
	SentinelUser
	SentinelPassword
	Prefix
	CAFile
	CertFile
	KeyFile
)

// String returns the name of the part in errors.
func (p Part) String() string {
	return [...]string{
		"the store's URL", "the store's password", "the Sentinels' user", "the Sentinels' password", "the prefix of the store's keys",
		"the CA file of the store", "the certificate file for the store", "the key file for the store",
	}[p]
}

// Fault is a rule that a Target breaks.
type Fault struct {
	Part Part
	What string // follows the name of the part; it quotes no value
	// Missing is the part that must be set as well; URL: none.
	Missing Part
}

// Faults returns the rules that a Target breaks. name returns the reader's name for a
// part.
func (t Target) Faults(name func(Part) string) []Fault {
	given := [...]bool{
		Password: t.Password != "", SentinelUser: t.SentinelUser != "", SentinelPassword: t.SentinelPassword != "",
		Prefix: t.Prefix != "" && t.Prefix != DefaultPrefix, CAFile: t.CAFile != "", CertFile: t.CertFile != "", KeyFile: t.KeyFile != "",
	}
	var faults []Fault
	known := t.Memory || len(t.Addrs) > 0
	if !known {
		faults = append(faults, Fault{Part: URL, What: errScheme.Error()})
	}
	onlyWith := func(useful bool, with string, parts ...Part) {
		for _, p := range parts {
			if known && given[p] && !useful {
				faults = append(faults, Fault{Part: p, What: "can only be used with " + with})
			}
		}
	}
	together := func(p, other Part) {
		if given[p] && !given[other] {
			faults = append(faults, Fault{p, "needs " + name(other) + " with it", other})
		}
	}
	together(CertFile, KeyFile)
	together(KeyFile, CertFile)
	onlyWith(t.TLS, "a rediss:// store (or rediss+sentinel, rediss+cluster)", CAFile, CertFile, KeyFile)
	onlyWith(t.Topology == redisconn.Sentinel, "a redis+sentinel:// store", SentinelUser, SentinelPassword)
	onlyWith(!t.Memory, "a store in Redis", Password, Prefix)
	if t.User != "" && !given[Password] { // go-redis would not send the user
		faults = append(faults, Fault{URL, "names a user, and no password; give it in the URL (user:password@), or with " + name(Password), Password})
	}
	together(SentinelUser, SentinelPassword)
	if t.Topology == redisconn.Cluster && t.DB != 0 {
		faults = append(faults, Fault{Part: URL, What: "must be of the form " + formCluster + ": a Cluster has database 0 only"})
	}
	if err := CheckPrefix(t.prefix()); err != nil {
		faults = append(faults, Fault{Part: Prefix, What: err.Error()})
	}
	return faults
}

func (t Target) prefix() string { return cmp.Or(t.Prefix, DefaultPrefix) }

// CheckPrefix returns an error if keys must not begin with prefix. A brace would put all
// keys of a Cluster into one slot, and * and ? would form a pattern.
func CheckPrefix(prefix string) error {
	letter := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	odd := func(r rune) bool { return r >= 0x80 || !letter(byte(r)) && !strings.ContainsRune(".:_-", r) }
	if prefix == "" || len(prefix) > maxPrefix || !letter(prefix[0]) || strings.ContainsFunc(prefix, odd) {
		return errors.New("must be up to 64 of A-Z a-z 0-9 . : _ - and begin with a letter or a digit")
	}
	return nil
}

const maxPrefix = 64

// tlsConfig returns nil for a store without TLS.
func (t Target) tlsConfig() (*tls.Config, error) {
	if !t.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of the store: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the CA of the store, %s, has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("the certificate and key to show to the store: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
