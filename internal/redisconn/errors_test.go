package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"authsvc/internal/redistest"
)

// tlsOf returns the settings that fit a Redis with certificates.
func tlsOf(t *testing.T, certs *redistest.Certs) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(certs.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certs.ClientCertFile, certs.ClientKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}}
	c.RootCAs.AppendCertsFromPEM(pem)
	return c
}

// Whatever is wrong with a Redis, each error says what it is, and why in the terms of
// this package: those of the calls that were tried, and those of the calls that the open
// breaker refused. An answer of Redis, though it refuses us, does not open the breaker; that
// of a Sentinel, which is asked before it, does.
func TestEachErrorShowsItsCause(t *testing.T) {
	t.Parallel()
	certs, others := redistest.NewCerts(t), redistest.NewCerts(t)
	secure := redistest.StartTLS(t, certs)
	plain, locked := redistest.Start(t), redistest.Start(t, "--requirepass", "the-right-one")
	replica := redistest.Start(t, "--replicaof", strings.Replace(plain.Addr(), ":", " ", 1))
	frozen := redistest.Start(t)
	trio := redistest.StartTrioWith(t, redistest.TrioOptions{SentinelPassword: "s3ntinel-pw"})
	do(t, plain, "ACL", "SETUSER", "app", "on", ">s3cret-pw", "~other:*", "+@all")
	do(t, plain, "ACL", "SETUSER", "mute", "on", ">s3cret-pw", "~*", "+@all", "-get")
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	opts := func(url string, with ...func(*Options)) Options {
		o := options(t, url)
		for _, w := range with {
			w(&o)
		}
		return o
	}
	withTLS := func(change func(*tls.Config)) func(*Options) {
		return func(o *Options) {
			o.TLS = tlsOf(t, certs)
			change(o.TLS)
		}
	}
	at := secure.TLSURL()
	for name, tt := range map[string]struct {
		opts   Options
		reason Reason
		opens  bool   // the breaker
		want   string // in each error
	}{
		"another CA": {
			opts(at, withTLS(func(c *tls.Config) { c.RootCAs = tlsOf(t, others).RootCAs })), TLSRefused, true, "certificate signed by unknown authority",
		},
		"another name":           {opts(at, withTLS(func(c *tls.Config) { c.ServerName = "localhost" })), TLSRefused, true, "certificate is not valid"},
		"no client certificate":  {opts(at, withTLS(func(c *tls.Config) { c.Certificates = nil })), TLSRefused, true, "certificate required"},
		"a replica":              {opts(replica.URL()), Replica, true, "this Redis is a replica, which may lag behind; the store must be its primary, " + plain.Addr()},
		"a Sentinel":             {opts(trio.Sentinels()[0].URL()), IsSentinel, true, "this is a Sentinel"},
		"nobody listens":         {opts("redis://127.0.0.1:1"), Other, true, "connect: connection refused"},
		"nobody answers":         {opts("redis://" + silent.Addr().String()), Other, true, "timeout"},
		"it stands still":        {opts(frozen.URL()), Other, true, "timeout"},
		"wrong password":         {opts("redis://:s3cret-pw@" + locked.Addr()), NoUser, false, "WRONGPASS "},
		"no password":            {opts("redis://" + locked.Addr()), NoUser, false, "NOAUTH "},
		"a command is forbidden": {opts("redis://mute:s3cret-pw@" + plain.Addr()), NotPermitted, false, "NOPERM "},
		"the keys are forbidden": {opts("redis://app:s3cret-pw@" + plain.Addr()), NotPermitted, false, "NOPERM "},
		"no Cluster":             {opts("redis+cluster://" + plain.Addr()), IsNoCluster, false, "cluster support disabled"},
		"no Sentinel": {
			opts("redis+sentinel://" + plain.Addr() + "/main"), IsNoSentinel, true, "unknown command 'sentinel'",
		},
		"the Sentinels' password": {opts(trio.URL(), func(o *Options) { o.SentinelPassword = "s3cret-pw" }), SentinelRefuses, true, "WRONGPASS "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := openRaw(t, tt.opts, queueLimit, func(o *redis.UniversalOptions) {
				if tt.want != "timeout" { // else a busy machine could time out first
					patient(o)
				}
			})
			if name == "it stands still" {
				frozen.Pause()
			}
			const key = prefix + "cause"
			opened, shown := false, false
			for start := time.Now(); time.Since(start) < 2*opensAfter || tt.opens && (!opened || !shown); time.Sleep(10 * time.Millisecond) {
				if time.Since(start) > 30*time.Second {
					t.Fatal("the breaker does not open, or never shows the cause")
				}
				_, err := get(inside(t, 10*time.Second), r, key)
				opened = opened || errors.Is(err, ErrBreakerOpen)
				cause := (*Error)(nil)
				if tt.reason == TLSRefused && errors.Is(err, syscall.ECONNRESET) && (!shown || !errors.Is(err, ErrBreakerOpen)) {
					continue // the reset was faster than the alert
				}
				shown = shown || !tt.opens || errors.Is(err, ErrBreakerOpen)
				if !errors.As(err, &cause) || cause.Reason != tt.reason || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%v: %+v; want reason %d and %q in it", err, cause, tt.reason, tt.want)
				}
				if strings.Contains(err.Error(), "s3cret-pw") {
					t.Fatalf("%v: it holds the password", err)
				}
			}
			if opened != tt.opens {
				t.Errorf("the breaker opened: %v, want %v", opened, tt.opens)
			}
		})
	}
}
