package authsvctest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
)

// Answer is the answer to a request.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func read(res *http.Response) (Answer, error) {
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return Answer{res.StatusCode, res.Header, body}, err
}

// Text returns a member of a JSON answer that is a string; "" if there is none of that
// name.
func (a Answer) Text(name string) string {
	var m map[string]any
	_ = json.Unmarshal(a.Body, &m)
	s, _ := m[name].(string)
	return s
}

// Active reports whether an introspection found its token active.
func (a Answer) Active() bool { return bytes.HasPrefix(a.Body, []byte(`{"active":true`)) }

// Pair returns the tokens of a token answer.
func (a Answer) Pair() Pair { return Pair{a.Text("access_token"), a.Text("refresh_token")} }

// Pair is the pair of tokens of a token answer.
type Pair struct{ Access, Refresh string }

// Post sends a form as an app. It may be called from any goroutine.
func (s *Server) Post(path, key string, params ...string) (Answer, error) {
	form := url.Values{"client_id": {key}, "client_secret": {Secret}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	res, err := s.Client.PostForm(s.URL+path, form)
	if err != nil {
		return Answer{}, err
	}
	return read(res)
}

// MustPost is like Post, and fails the test if there is no answer.
func (s *Server) MustPost(path, key string, params ...string) Answer {
	s.t.Helper()
	a, err := s.Post(path, key, params...)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// Issue gets a token with client_credentials.
func (s *Server) Issue(key string, params ...string) Answer {
	s.t.Helper()
	return s.MustPost("/oauth/token", key, append([]string{"grant_type", "client_credentials"}, params...)...)
}

// Refresh exchanges a refresh token for its successor.
func (s *Server) Refresh(key, refreshToken string, params ...string) Answer {
	s.t.Helper()
	return s.MustPost("/oauth/token", key, append([]string{"grant_type", "refresh_token", "refresh_token", refreshToken}, params...)...)
}

// Introspect introspects a token as the gateway.
func (s *Server) Introspect(token string) Answer {
	s.t.Helper()
	return s.MustPost("/oauth/introspect", Gateway, "token", token)
}

// Revoke revokes a token as an app.
func (s *Server) Revoke(key, token string) Answer {
	s.t.Helper()
	return s.MustPost("/oauth/revoke", key, "token", token)
}

// Verify calls /oauth/verify; query is "" or begins with a question mark.
func (s *Server) Verify(token, query string) Answer {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.URL+"/oauth/verify"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := s.Client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := read(res)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// Want fails the test unless an answer has this status and this error code, "" for a
// success.
func Want(t *testing.T, what string, a Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Text("error_code") != code {
		t.Fatalf("%s: %d %s, want %d %s", what, a.Status, a.Body, status, code)
	}
}
