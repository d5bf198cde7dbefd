package store

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestURL(t *testing.T) {
	for url, want := range map[string]target{
		"redis://h":                                  {addrs: []string{"h:6379"}},
		"redis://h/":                                 {addrs: []string{"h:6379"}},
		"redis://10.0.0.1:7000/3":                    {addrs: []string{"10.0.0.1:7000"}, db: 3},
		"redis://h?db=3":                             {addrs: []string{"h:6379"}, db: 3},
		"redis://[::1]:7000":                         {addrs: []string{"[::1]:7000"}},
		"redis://[::1]":                              {addrs: []string{"[::1]:6379"}},
		"redis://u:p%40%2Fss@h":                      {addrs: []string{"h:6379"}, user: "u", password: "p@/ss"},
		"redis://:p:q@h":                             {addrs: []string{"h:6379"}, password: "p:q"},
		"redis://u@h":                                {addrs: []string{"h:6379"}, user: "u"},
		"rediss://h":                                 {addrs: []string{"h:6379"}, tls: true},
		"unix:///run/redis.sock":                     {addrs: []string{"/run/redis.sock"}},
		"unix://u:p@/run/redis.sock?db=2":            {addrs: []string{"/run/redis.sock"}, user: "u", password: "p", db: 2},
		"redis+sentinel://a,b:1/main":                {topology: sentinel, addrs: []string{"a:26379", "b:1"}, primary: "main"},
		"rediss+sentinel://u:p@a,b,c/main/4":         {topology: sentinel, tls: true, addrs: []string{"a:26379", "b:26379", "c:26379"}, primary: "main", user: "u", password: "p", db: 4},
		"redis+cluster://a,b:1,[::1]":                {topology: cluster, addrs: []string{"a:6379", "b:1", "[::1]:6379"}},
		"rediss+cluster://u:p@redis-0.redis.svc:1/0": {topology: cluster, tls: true, addrs: []string{"redis-0.redis.svc:1"}, user: "u", password: "p"},
	} {
		got, err := parseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(target{})); diff != "" {
			t.Errorf("%s:\n%s", url, diff)
		}
		facts := URLFacts{TLS: want.tls, Sentinel: want.topology == sentinel, Cluster: want.topology == cluster, User: want.user != "", Password: want.password != "", Hosts: strings.Join(want.addrs, ",")}
		if got, err := CheckURL(url); err != nil || got != facts {
			t.Errorf("%s: CheckURL says %+v, %v", url, got, err)
		}
	}
	if got, err := CheckURL("memory://"); err != nil || got != (URLFacts{Memory: true}) {
		t.Errorf("memory://: CheckURL says %+v, %v", got, err)
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
