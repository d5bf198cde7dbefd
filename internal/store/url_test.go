package store

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/redisconn"
)

func TestParseTarget(t *testing.T) {
	for url, want := range map[string]Target{
		"redis://h":                                  {Addrs: []string{"h:6379"}},
		"redis://h/":                                 {Addrs: []string{"h:6379"}},
		"redis://10.0.0.1:7000/3":                    {Addrs: []string{"10.0.0.1:7000"}, DB: 3},
		"redis://h?db=3":                             {Addrs: []string{"h:6379"}, DB: 3},
		"redis://[::1]:7000":                         {Addrs: []string{"[::1]:7000"}},
		"redis://[::1]":                              {Addrs: []string{"[::1]:6379"}},
		"redis://u:p%40%2Fss@h":                      {Addrs: []string{"h:6379"}, User: "u", Password: "p@/ss"},
		"redis://:p:q@h":                             {Addrs: []string{"h:6379"}, Password: "p:q"},
		"redis://u@h":                                {Addrs: []string{"h:6379"}, User: "u"},
		"rediss://h":                                 {Addrs: []string{"h:6379"}, TLS: true},
		"unix:///run/redis.sock":                     {Addrs: []string{"/run/redis.sock"}},
		"unix://u:p@/run/redis.sock?db=2":            {Addrs: []string{"/run/redis.sock"}, User: "u", Password: "p", DB: 2},
		"redis+sentinel://a,b:1/main":                {Topology: redisconn.Sentinel, Addrs: []string{"a:26379", "b:1"}, Primary: "main"},
		"rediss+sentinel://u:p@a,b,c/main/4":         {Topology: redisconn.Sentinel, TLS: true, Addrs: []string{"a:26379", "b:26379", "c:26379"}, Primary: "main", User: "u", Password: "p", DB: 4},
		"redis+cluster://a,b:1,[::1]":                {Topology: redisconn.Cluster, Addrs: []string{"a:6379", "b:1", "[::1]:6379"}},
		"rediss+cluster://u:p@redis-0.redis.svc:1/0": {Topology: redisconn.Cluster, TLS: true, Addrs: []string{"redis-0.redis.svc:1"}, User: "u", Password: "p"},
	} {
		got, err := ParseTarget(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", url, diff)
		}
		if got.String() != strings.Join(want.Addrs, ",") {
			t.Errorf("%s: shown as %s", url, got)
		}
	}
	got, err := ParseTarget("memory://")
	if diff := cmp.Diff(Target{Memory: true}, got); diff != "" || err != nil || got.String() != "memory://" {
		t.Errorf("memory://: %v: %s", err, diff)
	}
}

func TestPrefix(t *testing.T) {
	for prefix, good := range map[string]bool{
		"authsvc:": true, "a": true, "9.b_c-d:": true, strings.Repeat("x", 64): true,
		"": false, ":a": false, "a*": false, "a?": false, "{a}:": false, "a b": false, "ä": false, "a\x00": false, strings.Repeat("x", 65): false,
	} {
		if err := CheckPrefix(prefix); (err == nil) != good {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}
