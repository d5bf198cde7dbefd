package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	apierr "authsvc/internal/errors"
)

var testPepper = Pepper{1, 2, 3}

// registry returns a registry of app-0001, whose secret is s3cret-1, and others.
func registry(t *testing.T, others ...App) *Registry {
	t.Helper()
	r, err := NewRegistry(testPepper, append([]App{{Key: "app-0001", Secrets: []Secret{{Hash: testPepper.Hash("s3cret-1")}}}}, others...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAuthenticate(t *testing.T) {
	var all []Secret
	for i := range MaxSecrets {
		all = append(all, Secret{Hash: testPepper.Hash(fmt.Sprintf("s3cret-of-many-%d", i))})
	}
	r := registry(t, App{Key: "app-0002", Secrets: []Secret{{Hash: testPepper.Hash("")}}}, App{Key: "app-many", Secrets: all})
	tests := []struct {
		name    string
		key     string
		secrets []string
		good    bool
	}{
		{"known", "app-0001", []string{"s3cret-1"}, true},
		{"the first of two readings", "app-0001", []string{"s3cret-1", "other-01"}, true},
		{"the second of two readings", "app-0001", []string{"other-01", "s3cret-1"}, true},
		{"both readings are the same", "app-0001", []string{"s3cret-1", "s3cret-1"}, true},
		{"unknown app", "app-0003", []string{"s3cret-1"}, false},
		{"key in another case", "APP-0001", []string{"s3cret-1"}, false},
		{"wrong secret", "app-0001", []string{"s3cret-2"}, false},
		{"two wrong readings", "app-0001", []string{"s3cret-2", "s3cret-3"}, false},
		{"the beginning of the secret", "app-0001", []string{"s3cret-"}, false},
		{"no secret", "app-0001", nil, false},
		{"empty secret", "app-0001", []string{""}, false},
		{"empty secret of an app that was given its hash", "app-0002", []string{""}, false},
		{"the hash itself", "app-0001", []string{testPepper.Hash("s3cret-1").String()}, false},
		{"no app and no secret", "", nil, false},
		{"the first of many", "app-many", []string{"s3cret-of-many-0"}, true},
		{"the last of many", "app-many", []string{"s3cret-of-many-4"}, true},
		{"one of many, in the second reading", "app-many", []string{"other-01", "s3cret-of-many-2"}, true},
		{"none of many", "app-many", []string{"s3cret-of-many-5"}, false},
		{"another app's", "app-many", []string{"s3cret-1"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			who, err := r.Authenticate(tt.key, tt.secrets...)
			if !tt.good {
				if !errors.Is(err, apierr.CredentialsInvalid) || who.App() != nil {
					t.Errorf("got %v, %v", who.App(), err)
				}
				return
			}
			if err != nil || who.App().Key != tt.key {
				t.Errorf("got %v, %v", who.App(), err)
			}
		})
	}
}

// An unknown app and a wrong secret can't be told apart.
func TestAuthenticateOneAnswer(t *testing.T) {
	r := registry(t)
	_, unknown := r.Authenticate("app-0002", "s3cret-1")
	_, wrong := r.Authenticate("app-0001", "s3cret-2")
	if unknown == nil || wrong == nil || unknown.Error() != wrong.Error() {
		t.Errorf("%v\n%v", unknown, wrong)
	}
}

// A registry with another pepper accepts nobody.
func TestAuthenticateOtherPepper(t *testing.T) {
	r, err := NewRegistry(Pepper{9}, []App{{Key: "app-0001", Secrets: []Secret{{Hash: testPepper.Hash("s3cret-1")}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate("app-0001", "s3cret-1"); !errors.Is(err, apierr.CredentialsInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestAdmit(t *testing.T) {
	networks := func(texts ...string) (ps []netip.Prefix) {
		for _, s := range texts {
			p, err := ParseNetwork(s)
			if err != nil {
				t.Fatal(err)
			}
			ps = append(ps, p)
		}
		return ps
	}
	tests := []struct {
		name string
		app  App
		ip   string
		want error
	}{
		{"anywhere", App{}, "203.0.113.9", nil},
		{"frozen", App{Frozen: true}, "203.0.113.9", apierr.AppFrozen},
		{"frozen comes before the address", App{Frozen: true, TrustedIPs: networks("10.0.0.0/8")}, "203.0.113.9", apierr.AppFrozen},
		{"within", App{TrustedIPs: networks("192.0.2.1", "10.0.0.0/8")}, "10.255.255.255", nil},
		{"just outside", App{TrustedIPs: networks("10.0.0.0/8")}, "11.0.0.0", apierr.IPNotTrusted},
		{"one address", App{TrustedIPs: networks("192.0.2.1")}, "192.0.2.2", apierr.IPNotTrusted},
		{"IPv4-mapped caller", App{TrustedIPs: networks("10.0.0.0/8")}, "::ffff:10.1.2.3", nil},
		{"IPv4-mapped caller outside", App{TrustedIPs: networks("10.0.0.0/8")}, "::ffff:11.1.2.3", apierr.IPNotTrusted},
		{"IPv4-mapped network", App{TrustedIPs: networks("::ffff:10.0.0.0/104")}, "10.1.2.3", nil},
		{"IPv6", App{TrustedIPs: networks("2001:db8::/32")}, "2001:db8::1", nil},
		{"IPv6 caller with a zone", App{TrustedIPs: networks("fe80::/10")}, "fe80::1%eth0", nil},
		{"all of IPv6 is not IPv4", App{TrustedIPs: networks("::/0")}, "10.1.2.3", apierr.IPNotTrusted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Authenticated{&tt.app}.Admit(netip.MustParseAddr(tt.ip))
			if !errors.Is(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	t.Run("no address at all", func(t *testing.T) {
		got := Authenticated{&App{TrustedIPs: networks("0.0.0.0/0", "::/0")}}.Admit(netip.Addr{})
		if !errors.Is(got, apierr.IPNotTrusted) {
			t.Errorf("got %v", got)
		}
	})
}

// A list that can't be right changes nothing.
func TestReplaceRefuses(t *testing.T) {
	hash := testPepper.Hash("s3cret-2")
	tests := []struct {
		name string
		apps []App
		want string
	}{
		{"empty", nil, "the list of apps is empty"},
		{"twice", []App{{Key: "app-0002", Secrets: []Secret{{Hash: hash}}}, {Key: "app-0002", Secrets: []Secret{{Hash: hash}}}}, "app app-0002: duplicate key"},
		{"no secret", []App{{Key: "app-0002", Secrets: []Secret{{Hash: hash}}}, {Key: "app-0003"}}, "app app-0003: no secret"},
		{"no secret beside another", []App{{Key: "app-0002", Secrets: []Secret{{Hash: hash}, {}}}}, "app app-0002: no secret"},
		{"six secrets", []App{{Key: "app-0002", Secrets: slices.Repeat([]Secret{{Hash: hash}}, 6)}}, "app app-0002: 6 secrets; at most 5 are allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := registry(t)
			if err := r.Replace(tt.apps); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if _, err := r.Authenticate("app-0001", "s3cret-1"); err != nil || r.Len() != 1 {
				t.Errorf("the old list is gone: %d apps, %v", r.Len(), err)
			}
			if _, err := NewRegistry(testPepper, tt.apps); err == nil {
				t.Error("NewRegistry took it")
			}
		})
	}
}

func TestReplace(t *testing.T) {
	r := registry(t)
	before, _ := r.Lookup("app-0001")
	list := []App{{Key: "app-0002", Secrets: []Secret{{Hash: testPepper.Hash("s3cret-2")}}}}
	if err := r.Replace(list); err != nil {
		t.Fatal(err)
	}
	list[0].Key = "app-0003" // the caller's list is not the registry's
	if _, ok := r.Lookup("app-0001"); ok {
		t.Error("an app that is not listed any more is still known")
	}
	if a, ok := r.Lookup("app-0002"); !ok || a.Key != "app-0002" {
		t.Errorf("Lookup = %v, %v", a, ok)
	}
	if before.Key != "app-0001" {
		t.Error("an app in use has changed")
	}
}

func TestReload(t *testing.T) {
	r := registry(t)
	r.Reload(t.Context()) // nobody to ask: nothing happens
	calls := 0
	r.OnReload = func(context.Context) { calls++ }
	r.Reload(t.Context())
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

// While lists replace each other, an app that is in all of them is always known,
// by the secret of one of them.
func TestReplaceWhileAuthenticating(t *testing.T) {
	lists := [2][]App{}
	for i := range lists {
		lists[i] = []App{{Key: "app-0001", Secrets: []Secret{{Hash: testPepper.Hash(fmt.Sprintf("s3cret-%d", i))}}}}
	}
	r := registry(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := range 500 {
				if err := r.Replace(lists[i%2]); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 500 {
				if _, err := r.Authenticate("app-0001", "s3cret-0", "s3cret-1"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestShapes(t *testing.T) {
	n := func(n int) string { return strings.Repeat("a", n) }
	tests := []struct {
		text        string
		key, secret bool
	}{
		{"", false, false},
		{n(7), false, false},
		{n(8), true, true},
		{n(128), true, true},
		{n(129), true, false},
		{n(200), true, false},
		{n(201), false, false},
		{"0aaaaaaa", true, true},
		{"9aaaaaaa", true, true},
		{"Zaaaaaaa", true, true},
		{"-aaaaaaa", false, false},
		{"_aaaaaaa", false, false},
		{"!aaaaaaa", false, false},
		{"a-_aaaa-", true, true},
		{"a!@#$%-_", false, true},
		{"aaaaaaa!", false, true},
		{"aaaaaaa&", false, false},
		{"aaaa aaa", false, false},
		{"aaaaaaa\n", false, false},
		{"aaaaaaa\x00", false, false},
		{"aaaaaaé", false, false},
		{"éaaaaaa", false, false},
		{"aaaa/aaa", false, false},
		{"aaaa:aaa", false, false},
		{"aaaa[aaa", false, false},
		{"aaaa`aaa", false, false},
		{"aaaa{aaa", false, false},
	}
	for _, tt := range tests {
		if got := ValidKey(tt.text); got != tt.key {
			t.Errorf("ValidKey(%q) = %v", tt.text, got)
		}
		if got := ValidSecret(tt.text); got != tt.secret {
			t.Errorf("ValidSecret(%q) = %v", tt.text, got)
		}
	}
}

func TestSecretHashRoundTrip(t *testing.T) {
	for _, secret := range []string{"s3cret-1", strings.Repeat("s", MaxSecretLen)} {
		h := testPepper.Hash(secret)
		got, err := ParseSecretHash(h.String())
		if err != nil || got != h {
			t.Errorf("of %q: %v", h, err)
		}
	}
}

// The hash of an app's secret lies in the apps files of its operators: it must
// not change.
func TestSecretHashVector(t *testing.T) {
	p := Pepper([]byte("0123456789abcdef0123456789abcdef"))
	// printf 'authsvc app secret v1\0s3cret-1' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary | basenc --base64url
	const want = "hmac-sha256:v8Dpf3VUng7I0PbF8LzYI_8WjBIfqLXfpah6leBM30w"
	if got := p.Hash("s3cret-1").String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseSecretHashRefuses(t *testing.T) {
	good := testPepper.Hash("s3cret-1").String()
	for _, s := range []string{
		"", "s3cret-1", "hmac-sha256:", good[len(hashPrefix):], good + "A", good[:len(good)-1], good + "=", good + "\n",
		"HMAC-SHA256:" + good[len(hashPrefix):], "sha256:" + good[len(hashPrefix):], good[:20] + "\n" + good[20:],
		SecretHash{}.String(),
	} {
		if _, err := ParseSecretHash(s); err == nil {
			t.Errorf("took %q", s)
		} else if s != "" && strings.Contains(err.Error(), s) && s != hashPrefix {
			t.Errorf("quotes its input: %v", err)
		}
	}
}

// A list that would bring revoked tokens back is refused, and the old one stays.
func TestReplaceNeverRevivesTokens(t *testing.T) {
	t.Parallel()
	var pepper Pepper
	one := func(key string, generation uint32) App {
		return App{Key: key, Secrets: []Secret{{Hash: pepper.Hash("s3cret-0001")}}, Generation: generation}
	}
	r, err := NewRegistry(pepper, []App{one("app-one-1", 3), one("app-two-2", 0)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		apps []App
		want string // part of the refusal
	}{
		{"lower generation", []App{one("app-one-1", 2), one("app-two-2", 0)}, "app-one-1: generation 2 is lower than the 3"},
		{"higher generation", []App{one("app-one-1", 4), one("app-two-2", 0)}, ""},
		{"removed", []App{one("app-one-1", 4)}, ""},
		{"back with its old tokens", []App{one("app-one-1", 4), one("app-two-2", 0)}, "app-two-2: it was removed, and would come back with its old tokens; set generation: 1"},
		{"back without", []App{one("app-one-1", 4), one("app-two-2", 1)}, ""},
		{"unchanged", []App{one("app-one-1", 4), one("app-two-2", 1)}, ""},
	} {
		before, _ := r.Lookup("app-one-1")
		err := r.Replace(tt.apps)
		after, _ := r.Lookup("app-one-1")
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || after != before):
			t.Errorf("%s: %v; the list was replaced: %v", tt.name, err, after != before)
		}
	}
}

// A wrong secret and an unknown app cost what a good secret does.
func BenchmarkAuthenticate(b *testing.B) {
	r, err := NewRegistry(testPepper, []App{{Key: "app-0001", Secrets: []Secret{{Hash: testPepper.Hash("s3cret-1")}}}})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, key, secret string }{
		{"good", "app-0001", "s3cret-1"},
		{"wrong", "app-0001", "s3cret-2"},
		{"unknown", "app-0002", "s3cret-1"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.Authenticate(c.key, c.secret)
			}
		})
	}
}
