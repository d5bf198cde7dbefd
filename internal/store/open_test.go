package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/redisconn"
	"authsvc/internal/redistest"
)

func TestOpenRefuses(t *testing.T) {
	certs := redistest.NewCerts(t)
	for name, c := range map[string]struct {
		url  string
		with func(*Target)
		want string // in the error
	}{
		"nothing":                   {"", nil, "redis://, rediss://"},
		"another scheme":            {"postgres://u:zq9xjv@h/db", nil, "redis://, rediss://"},
		"no scheme":                 {"u:zq9xjv@h:6379", nil, "redis://, rediss://"},
		"a misplaced scheme":        {"u:zq9xjv@h://x", nil, "redis://, rediss://"},
		"memory elsewhere":          {"memory://h", nil, "takes no address"},
		"memory with a CA":          {"memory://", func(t *Target) { t.CAFile = certs.CAFile }, "rediss"},
		"an unknown argument":       {"redis://u:zq9xjv@h/0?retries=3", nil, "behind a ?"},
		"a bad argument":            {"redis://u:zq9xjv@h?db=x", nil, "database is a number"},
		"a bad database":            {"redis://u:zq9xjv@h/x", nil, "database is a number"},
		"no verification":           {"rediss://u:zq9xjv@h/0?skip_verify=true", nil, "behind a ?"},
		"a bad port":                {"redis://u:zq9xjv@h:port", nil, "percent-encode"},
		"a % in the password":       {"redis://u:zq9%xjv@h", nil, "percent-encode"},
		"a / in the password":       {"redis://u:9988776655/zq9xjv@h:6379/0", nil, "percent-encode"},
		"a ? in the password":       {"redis://u:9988776655?zq9xjv@h:6379/0", nil, "percent-encode"},
		"a # in the password":       {"redis://u:9988776655#zq9xjv@h:6379/0", nil, "percent-encode"},
		"a / after a letter":        {"redis://u:zq9xjv/9988776655@h:6379/0", nil, "percent-encode"},
		"a space":                   {"redis://u:zq9 xjv@h:6379/0", nil, "percent-encode"},
		"a control character":       {"redis://u:zq9xjv\n@h:6379/0", nil, "percent-encode"},
		"a CA without TLS":          {"redis://u:zq9xjv@h", func(t *Target) { t.CAFile = certs.CAFile }, "rediss"},
		"a key without TLS":         {"redis://u:zq9xjv@h", func(t *Target) { t.KeyFile = certs.ClientKeyFile }, "rediss"},
		"several hosts":             {"redis://u:zq9xjv@h,i/0", nil, "several hosts"},
		"a Cluster's database":      {"redis+cluster://u:zq9xjv@h/1", nil, "database 0 only"},
		"no primary":                {"redis+sentinel://u:zq9xjv@h", nil, "name of the primary"},
		"a socket and a host":       {"unix://u:zq9xjv@h/run/redis.sock", nil, "unix://"},
		"no socket":                 {"unix://u:zq9xjv@", nil, "unix://"},
		"an @ in the password":      {"redis://u:zq9@xjv@h:6379/0", nil, "percent-encode"},
		"no host":                   {"redis+cluster://u:zq9xjv@h,/", nil, "percent-encode"},
		"two databases":             {"redis://u:zq9xjv@h/1?db=2", nil, "behind a ?"},
		"no such CA":                {"rediss://u:zq9xjv@h", func(t *Target) { t.CAFile = "missing.pem" }, "missing.pem"},
		"a CA that is none":         {"rediss://u:zq9xjv@h", func(t *Target) { t.CAFile = certs.ClientKeyFile }, "PEM"},
		"a key without a cert":      {"rediss://u:zq9xjv@h", func(t *Target) { t.KeyFile = certs.ClientKeyFile }, "needs the certificate file"},
		"a cert without a key":      {"rediss://u:zq9xjv@h", func(t *Target) { t.CertFile = certs.ClientCertFile }, "needs the key file"},
		"a user alone":              {"redis://zq9xjv@h", nil, "no password"},
		"a Sentinel user alone":     {"redis+sentinel://h/p", func(t *Target) { t.SentinelUser = "zq9xjv" }, "needs the Sentinels' password"},
		"a Sentinel user elsewhere": {"redis://h", func(t *Target) { t.SentinelUser, t.SentinelPassword = "zq9xjv", "xjv" }, "redis+sentinel://"},
		"memory with a password":    {"memory://", func(t *Target) { t.Password = "zq9xjv" }, "with a store in Redis"},
		"memory with a prefix":      {"memory://", func(t *Target) { t.Prefix = "zq9xjv" }, "with a store in Redis"},
		"a bad prefix":              {"redis://h", func(t *Target) { t.Prefix = "{zq9xjv}" }, "up to 64 of"},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := ParseTarget(c.url)
			if err == nil {
				if c.with != nil {
					c.with(&target)
				}
				s, opened := Open(target, Options{})
				if opened == nil {
					_ = s.Close()
					t.Fatal("it was opened")
				}
				err = opened
			}
			if !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("%v; want %q in it", err, c.want)
			}
			for _, piece := range []string{"zq9", "xjv", "9988776655"} {
				if strings.Contains(err.Error(), piece) {
					t.Errorf("%v; it holds a piece of the password", err)
				}
			}
		})
	}
	if _, err := Open(Target{}, Options{}); err == nil || !strings.Contains(err.Error(), "redis://, rediss://") {
		t.Errorf("no target: %v", err)
	}
}

// Every fault is told at once, in the reader's words.
func TestFaults(t *testing.T) {
	target := Target{Topology: redisconn.Cluster, Addrs: []string{"h:1"}, DB: 1, User: "u", SentinelUser: "s", CertFile: "c"}
	got := target.Faults(func(p Part) string { return fmt.Sprintf("<%d>", p) })
	want := []Fault{
		{CertFile, "needs <7> with it", KeyFile},
		{CertFile, "can only be used with a rediss:// store (or rediss+sentinel, rediss+cluster)", URL},
		{SentinelUser, "can only be used with a redis+sentinel:// store", URL},
		{URL, "names a user, and no password; give it in the URL (user:password@), or with <1>", Password},
		{SentinelUser, "needs <3> with it", SentinelPassword},
		{URL, "must be of the form redis+cluster://user:password@host:port,host:port: a Cluster has database 0 only", URL},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOpen(t *testing.T) {
	server := redistest.Start(t)
	for _, url := range []string{"memory://", server.URL(), "redis://u:p%40%2Fss@127.0.0.1:1/0", "rediss://127.0.0.1:1"} {
		target, err := ParseTarget(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		s, err := Open(target, Options{})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: Close: %v", url, err)
		}
	}
}
