package clients

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// request is a request for a token: with client_credentials, or with a refresh token.
type request struct {
	service, app, secret, refresh string
}

func (r request) env() []string {
	env := append(os.Environ(), "AUTHSVC_URL="+r.service, "CLIENT_ID="+r.app, "CLIENT_SECRET="+r.secret)
	if r.refresh != "" {
		env = append(env, "REFRESH_TOKEN="+r.refresh)
	}
	return env
}

func (r request) form() []string {
	if r.refresh != "" {
		return []string{"grant_type", "refresh_token", "refresh_token", r.refresh}
	}
	return []string{"grant_type", "client_credentials"}
}

// client makes a request as its users do, and returns what they see of the answer or of
// the error.
type client func(t *testing.T, r request) string

// script is a client in testdata/shows. It imports a library of the same name, so the
// names of those for Python have an underscore.
func script(name string) client {
	interpreter := map[string]string{".pl": "/usr/bin/perl", ".rb": "/usr/bin/ruby", ".py": python}[filepath.Ext(name)]
	return func(t *testing.T, r request) string {
		t.Helper()
		out, ok := run(t, r.env(), interpreter, filepath.Join("testdata", "shows", name))
		if !ok {
			t.Fatalf("%s is not installed, or fails; 'make deps' installs it\n%s", name, out)
		}
		return out
	}
}

// command is a client that takes the form as one argument, and then the URL.
func command(name string, args ...string) client {
	return func(t *testing.T, r request) string {
		t.Helper()
		pairs, form := r.form(), ""
		for i := 0; i < len(pairs); i += 2 {
			form += "&" + pairs[i] + "=" + pairs[i+1]
		}
		with := strings.NewReplacer("APP", r.app, "SECRET", r.secret, "FORM", form[1:])
		all := []string{}
		for _, a := range args {
			all = append(all, with.Replace(a))
		}
		out, _ := run(t, os.Environ(), name, append(all, r.service+"/oauth/token")...)
		return out
	}
}

func oauth2Client(t *testing.T, r request) string {
	config := clientcredentials.Config{ClientID: r.app, ClientSecret: r.secret, TokenURL: r.service + "/oauth/token", AuthStyle: oauth2.AuthStyleInHeader}
	source := config.TokenSource(t.Context())
	if r.refresh != "" {
		refresher := oauth2.Config{
			ClientID: r.app, ClientSecret: r.secret, Endpoint: oauth2.Endpoint{TokenURL: config.TokenURL, AuthStyle: config.AuthStyle},
		}
		source = refresher.TokenSource(t.Context(), &oauth2.Token{RefreshToken: r.refresh})
	}
	token, err := source.Token()
	if err != nil {
		return err.Error()
	}
	return token.AccessToken
}

var clients = map[string]client{
	"curl":                           command("curl", "-sS", "-u", "APP:SECRET", "-d", "FORM"),
	"curl -f":                        command("curl", "-sSf", "-u", "APP:SECRET", "-d", "FORM"),
	"wget":                           command("wget", "-nv", "-O-", "--tries=1", "--auth-no-challenge", "--http-user=APP", "--http-password=SECRET", "--post-data=FORM"),
	"Go, golang.org/x/oauth2":        oauth2Client,
	"Python, Authlib":                script("authlib_.py"),
	"Python, requests-oauthlib":      script("requests_oauthlib_.py"),
	"Python, urllib":                 script("urllib_.py"),
	"Python, httpx":                  script("httpx_.py"),
	"Ruby, Faraday with raise_error": script("faraday.rb"),
	"Perl, Net::OAuth2":              script("net_oauth2.pl"),
	"Perl, LWP::Authen::OAuth2":      script("lwp_authen_oauth2.pl"),
	"Ruby, oauth2":                   script("oauth2.rb"),
	"Ruby, Signet":                   script("signet.rb"),
}

// What the users of each client see of a refusal is what the table in docs/clients.md
// says: the text that tells them what to do, only the code, only the status, or nothing.
func TestShows(t *testing.T) {
	t.Parallel()
	s := serve(t, "plain")
	away := s.site.Start("redis://127.0.0.1:1")
	old := s.MustPost("/oauth/token", short, "client_secret", s.secret, "grant_type", "client_credentials").Pair()
	redistest.Eventually(t, "the tokens have expired", func() bool {
		return s.MustPost("/oauth/introspect", s.gateway, "client_secret", s.secret, "token", old.Access).Text("error_code") == "APIG.1002"
	})
	refusals := []request{ // in the order of the columns
		{s.URL, s.worker, "another-" + s.secret, ""},
		{s.URL, frozen, s.secret, ""},
		{s.URL, short, s.secret, old.Refresh},
		{away.URL, s.worker, s.secret, ""},
	}
	table := shownInDocs(t)
	if got, want := slices.Sorted(maps.Keys(table)), slices.Sorted(maps.Keys(clients)); !slices.Equal(got, want) {
		t.Errorf("docs/clients.md says that make test runs %q; these are run: %q", got, want)
	}
	for name, shows := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fresh := s.MustPost("/oauth/token", s.worker, "client_secret", s.secret, "grant_type", "client_credentials").Pair()
			for _, good := range []request{{s.URL, s.worker, s.secret, ""}, {s.URL, s.worker, s.secret, fresh.Refresh}} {
				if out := shows(t, good); len(tokens(out)) == 0 && !strings.HasPrefix(out, "refreshed: 200") {
					t.Errorf("a good request:\n%s", out)
				}
			}
			var got []string
			for _, refused := range refusals {
				server := s.Server
				if refused.service == away.URL {
					server = away
				}
				a := server.MustPost("/oauth/token", refused.app, append(refused.form(), "client_secret", refused.secret)...)
				out := shows(t, refused)
				got = append(got, seen(out, a))
				t.Logf("%s: %s", a.Text("error_code"), out)
			}
			if !slices.Equal(got, table[name]) {
				t.Errorf("it shows %q; docs/clients.md says %q", got, table[name])
			}
		})
	}
}

// seen says what a text contains of a refusal.
func seen(text string, a authsvctest.Answer) string {
	switch {
	case strings.Contains(text, a.Text("error_description")):
		return "text"
	case strings.Contains(text, a.Text("error_code")):
		return "code"
	case strings.Contains(text, strconv.Itoa(a.Status)):
		return "status"
	}
	return "nothing"
}

// shownInDocs returns what the table in docs/clients.md says of each client that make
// test runs.
func shownInDocs(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(b), "\n## What each client shows\n")
	if !found {
		t.Fatal("docs/clients.md has no section about what each client shows")
	}
	table := map[string][]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) == 7 && cells[2] == "`make test`" {
			name := strings.ReplaceAll(strings.TrimPrefix(cells[0], "| "), "`", "")
			cells[6] = strings.TrimSuffix(cells[6], " |")
			table[name] = cells[3:]
		}
	}
	return table
}
