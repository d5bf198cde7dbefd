package token_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
	"github.com/go-oauth2/oauth2/v4/server"
	"github.com/google/go-cmp/cmp"
)

// stockStore is the token store and the client store in one, with a mutex, so that
// no race is the store's fault. gate holds back every write that follows a read.
type stockStore struct {
	mu      sync.Mutex
	tokens  map[string]models.Token
	clients map[string]*models.Client
	gate    func()
}

func (s *stockStore) GetByID(_ context.Context, id string) (oauth2.ClientInfo, error) {
	if c, ok := s.clients[id]; ok {
		return c, nil
	}
	return nil, errors.New("not found")
}

func (s *stockStore) Create(_ context.Context, ti oauth2.TokenInfo) error {
	if s.gate != nil {
		s.gate()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := *ti.(*models.Token)
	s.tokens[t.Access], s.tokens[t.Refresh] = t, t
	return nil
}

func (s *stockStore) remove(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, key)
	return nil
}

func (s *stockStore) get(key string) (oauth2.TokenInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[key]; ok {
		return &t, nil
	}
	return nil, nil
}

func (s *stockStore) RemoveByCode(_ context.Context, k string) error { return s.remove(k) }

func (s *stockStore) RemoveByAccess(_ context.Context, k string) error { return s.remove(k) }

func (s *stockStore) RemoveByRefresh(_ context.Context, k string) error { return s.remove(k) }

func (s *stockStore) GetByCode(_ context.Context, k string) (oauth2.TokenInfo, error) {
	return s.get(k)
}

func (s *stockStore) GetByAccess(_ context.Context, k string) (oauth2.TokenInfo, error) {
	return s.get(k)
}

func (s *stockStore) GetByRefresh(_ context.Context, k string) (oauth2.TokenInfo, error) {
	return s.get(k)
}

// The negative control of oauth2_test.go: the stock manager of go-oauth2 v4.5.4,
// asked the same, does what its tests are there to prevent.
func TestTrapsOfTheStockManager(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var got []string
	show := func(trap string, came ...any) { got = append(got, trap+" "+strings.TrimSpace(fmt.Sprintln(came...))) }
	s := &stockStore{tokens: map[string]models.Token{}, clients: map[string]*models.Client{
		"mine":   {ID: "mine", Secret: "secret"},
		"theirs": {ID: "theirs", Secret: "other"},
		"empty":  {ID: "empty"},
	}}
	m := manage.NewDefaultManager()
	m.MapTokenStorage(s)
	m.MapClientStorage(s)
	m.SetClientTokenCfg(&manage.Config{AccessTokenExp: time.Hour, RefreshTokenExp: 2 * time.Hour, IsGenerateRefresh: true})
	srv := server.NewServer(&server.Config{
		TokenType: "Bearer", AllowedGrantTypes: []oauth2.GrantType{oauth2.ClientCredentials, oauth2.Refreshing},
	}, m)

	issue := func(id, secret string) (oauth2.TokenInfo, error) {
		return srv.GetAccessToken(ctx, oauth2.ClientCredentials, &oauth2.TokenGenerateRequest{ClientID: id, ClientSecret: secret, Scope: "read"})
	}
	must := func(ti oauth2.TokenInfo, err error) oauth2.TokenInfo {
		if err != nil {
			t.Fatal(err)
		}
		return ti
	}
	refresh := func(id, secret, scope, rt string) (oauth2.TokenInfo, error) {
		return srv.GetAccessToken(ctx, oauth2.Refreshing, &oauth2.TokenGenerateRequest{ClientID: id, ClientSecret: secret, Scope: scope, Refresh: rt})
	}
	status := func(err error) int {
		if err == nil {
			return 200
		}
		_, code, _ := srv.GetErrorData(err)
		return code
	}

	_, err := refresh("theirs", "other", "", must(issue("mine", "secret")).GetRefresh())
	show("refresh-by-another-app", status(err))
	_, err = refresh("mine", "wrong", "", must(issue("mine", "secret")).GetRefresh())
	show("refresh-with-wrong-secret", status(err))
	ti, err := refresh("mine", "secret", "read,admin", must(issue("mine", "secret")).GetRefresh())
	show("refresh-widens-scope", status(err), must(ti, err).GetScope())
	_, err = issue("nobody", "secret")
	show("unknown-client", status(err))
	_, err = issue("empty", "any secret at all")
	show("empty-stored-secret", status(err))

	_, unknown := refresh("mine", "secret", "", "no such token")
	old := must(issue("mine", "secret")).GetRefresh()
	aged := s.tokens[old]
	aged.RefreshCreateAt = aged.RefreshCreateAt.Add(-3 * time.Hour)
	s.tokens[old] = aged
	_, expired := refresh("mine", "secret", "", old)
	show("expired-looks-unknown", status(expired), errors.Is(expired, unknown))

	rt := must(issue("mine", "secret")).GetRefresh()
	const racers = 16
	var read, done sync.WaitGroup
	read.Add(racers)
	s.gate = func() { read.Done(); read.Wait() } // all have read before one writes
	var mu sync.Mutex
	successors := map[string]bool{}
	for range racers {
		done.Go(func() {
			if ti, err := refresh("mine", "secret", "", rt); err == nil {
				mu.Lock()
				successors[ti.GetRefresh()] = true
				mu.Unlock()
			}
		})
	}
	done.Wait()
	show("racing-refreshes", racers, len(successors))
	want := []string{
		"refresh-by-another-app 200",
		"refresh-with-wrong-secret 200",
		"refresh-widens-scope 200 read,admin",
		"unknown-client 500",
		"empty-stored-secret 200",
		"expired-looks-unknown 401 true",
		"racing-refreshes 16 16",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the stock manager has changed; see which trap is gone (-want +got):\n%s", d)
	}
}
