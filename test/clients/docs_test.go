package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"authsvc/internal/redistest"
)

// program returns how to run a piece of docs/clients.md: a command and its arguments.
type program func(t *testing.T) []string

func shell(name string) program {
	return func(t *testing.T) []string { return []string{"bash", "-euo", "pipefail", file(t, name, "run.sh")} }
}

func pythonScript(name string) program {
	return func(t *testing.T) []string {
		needPython(t)
		return []string{python, file(t, name, "run.py")}
	}
}

func goProgram(name string) program {
	return func(t *testing.T) []string {
		binary := filepath.Join(t.TempDir(), "program")
		// It is built here, so with the versions in go.mod.
		if out, err := exec.Command("go", "build", "-o", binary, file(t, name, "main.go")).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, out)
		}
		return []string{binary}
	}
}

// wrongSecret is what a user of any client reads after a wrong secret.
const wrongSecret = "No app has this client_id and client_secret. Check both"

// The pieces that get, refresh and revoke work exactly as they are in docs/clients.md,
// whatever the secret contains; and a wrong secret leads to a readable error.
func TestDocs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		program    program
		introspect bool   // it also introspects
		goesOn     bool   // it continues after an error
		revoked    string // what it prints at the end
		wrong      string // what precedes the text about a wrong secret
	}{
		{name: "curl", program: shell("curl"), goesOn: true, revoked: "{}", wrong: `"error_description":"`},
		{name: "oauth2", program: goProgram("go oauth2"), revoked: "200 OK", wrong: `oauth2: "invalid_client" "`},
		{name: "authlib", program: pythonScript("python authlib"), introspect: true, revoked: "200", wrong: "OAuthError: invalid_client: "},
		{name: "requests-oauthlib", program: pythonScript("python requests-oauthlib"), revoked: "200", wrong: "InvalidClientError: (invalid_client) "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, service := c.program(t), serve(t, "plain")
			for name := range secrets {
				t.Run(name, func(t *testing.T) {
					s := service.with(t, name)
					out, ok := run(t, s.env(), p[0], p[1:]...)
					if !ok {
						t.Fatalf("it fails:\n%s", out)
					}
					want := []string{"token " + s.worker + " ok", "token " + s.worker + " ok", "revoke " + s.worker + " ok"}
					if c.introspect {
						want = append(want[:2], "introspect "+s.gateway+" ok", want[2])
					}
					s.wantRequests(want...)
					if !strings.HasSuffix(strings.TrimSpace(out), c.revoked) {
						t.Errorf("it ends with another answer than %q:\n%s", c.revoked, out)
					}
					if n := len(redistest.Grants(s.redis.Dump())); n != 0 {
						t.Errorf("%d grants are left after the revocation", n)
					}
					got := tokens(out)
					if len(got) != 2 || got[0] == got[1] {
						t.Fatalf("it prints the tokens %q, not two:\n%s", got, out)
					}
					for _, token := range got {
						if a := s.introspect(token); a.Text("error_code") != "APIG.2203" {
							t.Errorf("a token is not revoked: %s", a.Body)
						}
					}
				})
			}

			t.Run("wrong secret", func(t *testing.T) {
				s := service.with(t, "special")
				out, ok := run(t, s.env("CLIENT_SECRET=another-"+s.secret), p[0], p[1:]...)
				if ok != c.goesOn || !strings.Contains(out, c.wrong+wrongSecret) {
					t.Errorf("success %t:\n%s\nwant %q in it", ok, out, c.wrong+wrongSecret)
				}
				if !c.goesOn {
					s.wantRequests("token " + s.worker + " APIG.1009") // one request, and nothing after it
				}
			})
		})
	}
}

// The pieces that introspect tell good tokens from bad ones, and say why.
func TestDocsIntrospect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                   string
		program                program
		good, revoked, refused string // what it prints
		goesOn                 bool   // it continues after an error
	}{
		{
			name: "curl", program: shell("curl introspect"), goesOn: true,
			good:    `^\{"active":true,"client_id":"[a-z]+(-escape)?-worker",.*"scope":"orders.read orders.write",.*"through_data":"tenant 7"\}$`,
			revoked: `^\{"active":false,"error_code":"APIG.2203","error_msg":"[^"]+"\}$`,
			refused: `"error_description":"` + wrongSecret,
		},
		{
			name: "zitadel", program: goProgram("go zitadel"),
			good:    `^[a-z]+(-escape)?-worker orders.read orders.write [0-9]{10} tenant 7$`,
			revoked: `refused: APIG.2203 \S`,
			refused: `ErrorType=invalid_client Description=` + wrongSecret,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, service := c.program(t), serve(t, "plain")
			for name, secret := range secrets {
				t.Run(name, func(t *testing.T) {
					s := service.with(t, name)
					a := s.MustPost("/oauth/token", s.worker, "client_secret", secret, "grant_type", "client_credentials", "through_data", "tenant 7")
					s.requests(1)
					check := func(what, env, want string, fine bool) {
						t.Helper()
						out, ok := run(t, s.env("TOKEN="+a.Pair().Access, env), p[0], p[1:]...)
						if ok != fine || !regexp.MustCompile(want).MatchString(strings.TrimSpace(out)) {
							t.Errorf("%s: success %t:\n%s\nwant %s", what, ok, out, want)
						}
					}
					check("good", "", c.good, true)
					s.wantRequests("introspect " + s.gateway + " ok")
					check("wrong secret", "GATEWAY_SECRET=another-"+secret, c.refused, c.goesOn)
					s.wantRequests("introspect " + s.gateway + " APIG.1009")
					s.MustPost("/oauth/revoke", s.worker, "client_secret", secret, "token", a.Pair().Access)
					s.requests(1)
					check("revoked", "", c.revoked, c.goesOn)
					s.wantRequests("introspect " + s.gateway + " ok")
				})
			}
		})
	}
}

// Every piece of code in docs/clients.md is run by a test here, except the lines that
// set the environment.
func TestDocsAreComplete(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	fences := strings.Count(string(b), "\n```") / 2
	run := strings.Count(string(b), "<!-- run: ")
	if run != 6 || fences != run+1 {
		t.Errorf("docs/clients.md has %d pieces of code and marks %d; 6 are run", fences, run)
	}
	for _, name := range []string{"AUTHSVC_URL", "CLIENT_ID", "CLIENT_SECRET", "GATEWAY_ID", "GATEWAY_SECRET"} {
		if !regexp.MustCompile(`export (\S+ )?` + name + `=`).Match(b) {
			t.Errorf("docs/clients.md does not set %s", name)
		}
	}
}
