package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	oauth2errors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/models"
	"github.com/go-oauth2/oauth2/v4/server"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// This file holds, one test each, the traps that were measured on go-oauth2.
// What the stock manager does is shown in oauth2_stock_test.go.

// token is a token request through go-oauth2, as a handler makes it.
func (w *world) token(key string, r Request) (oauth2.TokenInfo, error) {
	t, _, err := w.m.Token(w.t.Context(), w.as(key), r)
	return t, err
}

func (w *world) refreshRequest(key, rt, scope string) (oauth2.TokenInfo, error) {
	return w.token(key, Request{GrantType: oauth2.Refreshing, RefreshToken: rt, Scope: scope})
}

func TestTokenDispatchesBothGrantTypes(t *testing.T) {
	w := newWorld(t)
	first, err := w.token(keyA, Request{GrantType: oauth2.ClientCredentials, Scope: "orders.read", ThroughData: "td"})
	if err != nil {
		t.Fatal(err)
	}
	if first.GetClientID() != keyA || first.GetScope() != "orders.read" || first.GetAccess() == "" || first.GetRefresh() == "" ||
		first.GetAccessExpiresIn() != DefaultAccessTTL || first.GetRefreshExpiresIn() != DefaultRefreshTTL {
		t.Errorf("%+v", first)
	}
	if g := w.grant(first.GetAccess()); g.ThroughData != "td" {
		t.Errorf("through_data %q", g.ThroughData)
	}
	second, err := w.token(keyA, Request{GrantType: oauth2.Refreshing, RefreshToken: first.GetRefresh(), ThroughData: "new"})
	if err != nil {
		t.Fatal(err)
	}
	if g := w.grant(second.GetAccess()); g.ThroughData != "new" || g.Serial != 2 {
		t.Errorf("%+v", g)
	}
}

func TestGrantTypesBeyondTheTwoAreRefused(t *testing.T) {
	w := newWorld(t)
	w.store.ops()
	for _, gt := range []oauth2.GrantType{
		"", oauth2.AuthorizationCode, oauth2.PasswordCredentials, oauth2.Implicit, "Client_Credentials", "client_credentials ",
	} {
		ti, err := w.token(keyA, Request{GrantType: gt, RefreshToken: "x", Scope: "orders.read"})
		if !errors.Is(err, oauth2errors.ErrUnauthorizedClient) || ti != nil {
			t.Errorf("grant type %q: %v, %v", gt, ti, err)
		}
	}
	if ops := w.store.ops(); len(ops) != 0 {
		t.Errorf("calls %v", ops)
	}
}

// Stock: refresh by another app answers 200.
func TestRefreshByAnotherAppIs1003(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	for _, key := range []string{keyB, keyC} { // the same tag, another tag
		if ti, err := w.refreshRequest(key, p.refresh, ""); code(err) != "1003" || ti != nil {
			t.Errorf("%s: %v, %v; want 1003", key, ti, err)
		}
	}
	if g := w.grant(p.refresh); g.Serial != 1 {
		t.Error("the grant was rotated")
	}
}

// Stock: a refresh takes whatever scope it is given.
func TestRefreshCannotWidenTheScope(t *testing.T) {
	w := newWorld(t)
	first, err := w.token(keyA, Request{GrantType: oauth2.ClientCredentials, Scope: "orders.read"})
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"orders.read orders.write", "orders.write", "admin"} {
		_, err := w.refreshRequest(keyA, first.GetRefresh(), scope)
		var e *apierr.Error
		if !errors.As(err, &e) || e.Row != apierr.AuthParameterInvalid || e.OAuthName() != "invalid_scope" {
			t.Errorf("scope %q: %v, want 2205 invalid_scope", scope, err)
		}
	}
	if g := w.grant(first.GetRefresh()); g.Scope != "orders.read" || g.Serial != 1 {
		t.Errorf("%+v", g)
	}
}

// Stock: up to 16 of 16 racing refreshes of one token succeed, each with tokens of its own.
func TestSixteenRacingRefreshesHaveOneSuccessor(t *testing.T) {
	w := newWorld(t)
	w.clock.tick = time.Millisecond
	p := w.issue(keyA)
	got := make([]string, 16)
	together(16, func(i int) {
		ti, err := w.refreshRequest(keyA, p.refresh, "")
		if err != nil {
			t.Error(err)
			return
		}
		got[i] = ti.GetRefresh()
	})
	for _, rt := range got {
		if rt != got[0] {
			t.Fatalf("two successors: %s and %s", got[0], rt)
		}
	}
}

// Stock: an expired refresh token and an unknown one look the same.
func TestExpiredAndUnknownAreToldApart(t *testing.T) {
	w := newWorld(t)
	expired, unknown := w.issue(keyA), w.issue(keyA)
	if _, err := w.m.Revoke(t.Context(), w.as(keyA), unknown.refresh); err != nil {
		t.Fatal(err)
	}
	if _, err := w.refreshRequest(keyA, unknown.refresh, ""); code(err) != "2202" {
		t.Errorf("unknown: %v, want 2202", err)
	}
	w.clock.Advance(DefaultRefreshTTL)
	if _, err := w.refreshRequest(keyA, expired.refresh, ""); code(err) != "1001" {
		t.Errorf("expired: %v, want 1001", err)
	}
	w.clock.Advance(1000 * time.Hour) // and the store has long forgotten it
	if _, err := w.refreshRequest(keyA, expired.refresh, ""); code(err) != "1001" {
		t.Errorf("expired and forgotten: %v, want 1001", err)
	}
}

// Stock: an unknown client is a 500, and an app with an empty stored secret
// accepts any. Here neither can get as far as a token: only a Registry makes an
// app.Authenticated, and it takes no app without a secret.
func TestUnknownClientsAndEmptySecretsDoNotReachTheManager(t *testing.T) {
	w := newWorld(t)
	if _, err := w.registry.Authenticate("no-such-app", "whatever"); code(err) != "1009" {
		t.Errorf("unknown app: %v, want 1009", err)
	}
	for _, secret := range []string{"", "wrong-secret"} {
		if _, err := w.registry.Authenticate(keyA, secret); code(err) != "1009" {
			t.Errorf("secret %q: %v, want 1009", secret, err)
		}
	}
	if _, err := app.NewRegistry(testPepper, []app.App{{Key: keyA}}); err == nil {
		t.Error("an app without a secret was taken in")
	}
}

// Typed errors come out as they went in: the very value, behind an interface.
func TestTypedErrorsPassThroughUnchanged(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.store.fail("get", failBefore)
	_, err := w.refreshRequest(keyA, p.refresh, "")
	e, ours := err.(*apierr.Error)
	if !ours || e.Row != apierr.Unavailable || e.RetryAfter == 0 || !errors.Is(err, ErrUnavailable) {
		t.Errorf("%T %v", err, err)
	}
	_, err = w.refreshRequest(keyA, "junk", "")
	e, ours = err.(*apierr.Error)
	if !ours || e.Row != apierr.RefreshTokenInvalid || !errors.Is(err, errMalformed) {
		t.Errorf("%T %v", err, err)
	}
	if _, err := w.token(keyA, Request{GrantType: oauth2.ClientCredentials, Scope: "admin"}); code(err) != "2205" {
		t.Errorf("%v", err)
	}
	// A failure has no token: a nil *models.Token in the interface would not be nil.
	if ti, err := w.refreshRequest(keyA, "junk", ""); ti != nil || err == nil {
		t.Errorf("%#v, %v", ti, err)
	}
}

func TestTheUnreachablePartsAnswerWithAnError(t *testing.T) {
	var c oauth2.Manager = &call{}
	ctx := context.Background()
	for name, f := range map[string]func() error{
		"GetClient":          func() error { _, err := c.GetClient(ctx, keyA); return err },
		"GenerateAuthToken":  func() error { _, err := c.GenerateAuthToken(ctx, oauth2.Code, nil); return err },
		"RemoveAccessToken":  func() error { return c.RemoveAccessToken(ctx, "") },
		"RemoveRefreshToken": func() error { return c.RemoveRefreshToken(ctx, "") },
		"LoadAccessToken":    func() error { _, err := c.LoadAccessToken(ctx, ""); return err },
		"LoadRefreshToken":   func() error { _, err := c.LoadRefreshToken(ctx, ""); return err },
	} {
		if err := f(); !errors.Is(err, errUnreachable) || !strings.HasPrefix(err.Error(), name+":") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The Refreshing handlers would load the token once more, and no handler of ours is needed.
func TestTheServersHandlersStayNil(t *testing.T) {
	w := newWorld(t)
	p := w.issue(keyA)
	w.store.ops()
	if _, err := w.refreshRequest(keyA, p.refresh, "orders.read"); err != nil {
		t.Fatal(err)
	}
	if ops := w.store.ops(); len(ops) != 2 || ops[0] != "get" || ops[1] != "swap" {
		t.Errorf("a refresh took the calls %v, want one get and one swap", ops)
	}
}

// stub is a Manager whose refresh answers with one error.
type stub struct {
	*call
	err error
}

func (s stub) RefreshAccessToken(context.Context, *oauth2.TokenGenerateRequest) (oauth2.TokenInfo, error) {
	return nil, s.err
}

func (s stub) GenerateAccessToken(_ context.Context, _ oauth2.GrantType, r *oauth2.TokenGenerateRequest) (oauth2.TokenInfo, error) {
	return &models.Token{ClientID: r.ClientID, Scope: r.Scope, Access: "stub"}, s.err
}

// Negative controls: what go-oauth2's server does, and so why we return typed
// errors only, and use neither its HandleTokenRequest nor its GetErrorData.
func TestTrapsOfTheStockServer(t *testing.T) {
	ctx := context.Background()
	t.Run("its own expired and invalid become one", func(t *testing.T) {
		for _, err := range []error{oauth2errors.ErrExpiredRefreshToken, oauth2errors.ErrInvalidRefreshToken} {
			s := server.Server{Config: &grants, Manager: stub{err: err}}
			_, got := s.GetAccessToken(ctx, oauth2.Refreshing, &oauth2.TokenGenerateRequest{})
			if got != oauth2errors.ErrInvalidGrant {
				t.Errorf("%v became %v; the trap is gone", err, got)
			}
		}
	})
	t.Run("a wrapped error is a 500", func(t *testing.T) {
		s := server.NewDefaultServer(stub{})
		_, plain, _ := s.GetErrorData(oauth2errors.ErrInvalidGrant)
		_, wrapped, _ := s.GetErrorData(fmt.Errorf("why: %w", oauth2errors.ErrInvalidGrant))
		if plain == http.StatusInternalServerError || wrapped != http.StatusInternalServerError {
			t.Errorf("status %d, wrapped %d; the trap is gone", plain, wrapped)
		}
	})
	t.Run("an error that cannot be hashed is a panic", func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("no panic; the trap is gone")
			}
		}()
		server.NewDefaultServer(stub{}).GetErrorData(unhashable{"x"})
	})
	t.Run("the query is read, and the first of two values taken", func(t *testing.T) {
		s := server.NewDefaultServer(stub{})
		s.SetClientInfoHandler(server.ClientFormHandler)
		s.SetAllowedGrantType(oauth2.ClientCredentials)
		r := httptest.NewRequest(http.MethodPost, "/?grant_type=client_credentials&client_id=in-the-url&client_secret=s&scope=a&scope=b", nil)
		rec := httptest.NewRecorder()
		if err := s.HandleTokenRequest(rec, r); err != nil || rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"scope":"a"`) {
			t.Errorf("%d %s, %v; the trap is gone", rec.Code, rec.Body, err)
		}
	})
}

type unhashable []string

func (u unhashable) Error() string { return u[0] }

// The stock manager must not be linked in, nor may the decisions know HTTP
// frameworks or Redis.
func TestImportGraph(t *testing.T) {
	gotool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	out, err := exec.CommandContext(t.Context(), gotool, "list", "-deps", "authsvc/internal/token").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 20 {
		t.Fatalf("only %d packages: %v", len(deps), deps)
	}
	for _, d := range deps {
		for _, banned := range []string{
			"github.com/go-oauth2/oauth2/v4/manage", "github.com/go-oauth2/oauth2/v4/generates", "github.com/go-oauth2/oauth2/v4/store",
			"github.com/gin-gonic/", "github.com/redis/", "authsvc/internal/store", "authsvc/internal/httpapi", "authsvc/internal/config",
		} {
			if strings.HasPrefix(d, banned) {
				t.Errorf("internal/token depends on %s", d)
			}
		}
	}
}
