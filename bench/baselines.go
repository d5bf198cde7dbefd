package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-oauth2/oauth2/v4"
	"github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
	"github.com/go-oauth2/oauth2/v4/server"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// serveBare parses the form, and answers every request with as many bytes as authsvc:
// the most that the framework can do.
func serveBare(listen string) error {
	token := `{"access_token":"at_` + strings.Repeat("x", 64) + `","token_type":"Bearer","expires_in":3600,"refresh_token":"rt_` + strings.Repeat("x", 64) + `","scope":"` + appScope + `"}`
	active := `{"active":true,"client_id":"` + appKey + `","sub":"` + appKey + `","scope":"` + appScope + `","token_type":"Bearer","iat":1700000000,"exp":1700003600,"iss":"http://127.0.0.1:8080","jti":"xxxxxxxxxxxxxxxx"}`
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	answer := func(param, body string) gin.HandlerFunc {
		return func(c *gin.Context) {
			if c.PostForm("client_id") != appKey || c.PostForm("client_secret") != appSecret || c.PostForm(param) == "" {
				c.Status(http.StatusBadRequest)
				return
			}
			c.Data(http.StatusOK, "application/json", []byte(body))
		}
	}
	g.POST("/oauth/token", answer("grant_type", token))
	g.POST("/oauth/introspect", answer("token", active))
	return http.ListenAndServe(listen, g)
}

// serveStock serves go-oauth2 on Redis, set up as in its documentation.
func serveStock(listen, redisURL string) error {
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	m := manage.NewDefaultManager()
	m.SetClientTokenCfg(&manage.Config{AccessTokenExp: time.Hour, RefreshTokenExp: 2 * time.Hour, IsGenerateRefresh: true})
	m.MapTokenStorage(&stockStore{redis.NewClient(opts)})
	m.MapClientStorage(oneClient{})
	s := server.NewDefaultServer(m)
	s.SetClientInfoHandler(server.ClientFormHandler)
	s.SetAllowedGrantType(oauth2.ClientCredentials, oauth2.Refreshing)
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.POST("/oauth/token", func(c *gin.Context) { _ = s.HandleTokenRequest(c.Writer, c.Request) })
	g.POST("/oauth/introspect", func(c *gin.Context) {
		if c.PostForm("client_id") != appKey || c.PostForm("client_secret") != appSecret {
			c.Status(http.StatusUnauthorized)
			return
		}
		t, err := m.LoadAccessToken(c.Request.Context(), c.PostForm("token"))
		if err != nil {
			c.JSON(http.StatusOK, gin.H{"active": false})
			return
		}
		c.JSON(http.StatusOK, gin.H{
			"active": true, "client_id": t.GetClientID(), "sub": t.GetClientID(), "scope": t.GetScope(), "token_type": "Bearer",
			"iat": t.GetAccessCreateAt().Unix(), "exp": t.GetAccessCreateAt().Add(t.GetAccessExpiresIn()).Unix(),
		})
	})
	return http.ListenAndServe(listen, g)
}

type oneClient struct{}

func (oneClient) GetByID(_ context.Context, id string) (oauth2.ClientInfo, error) {
	if id != appKey {
		return nil, errors.ErrInvalidClient
	}
	return &models.Client{ID: appKey, Secret: appSecret}, nil
}

// stockStore stores tokens as go-oauth2's own stores do: the token as JSON under an id,
// and the id under the access and the refresh token, written in one transaction.
type stockStore struct{ c *redis.Client }

func (s *stockStore) Create(ctx context.Context, info oauth2.TokenInfo) error {
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	id := uuid.NewString()
	_, err = s.c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, id, b, info.GetRefreshExpiresIn())
		p.Set(ctx, info.GetAccess(), id, info.GetAccessExpiresIn())
		p.Set(ctx, info.GetRefresh(), id, info.GetRefreshExpiresIn())
		return nil
	})
	return err
}

func (s *stockStore) get(ctx context.Context, key string) (oauth2.TokenInfo, error) {
	id, err := s.c.Get(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	b, err := s.c.Get(ctx, id).Bytes()
	if err != nil {
		return nil, err
	}
	var t models.Token
	return &t, json.Unmarshal(b, &t)
}

func (s *stockStore) remove(ctx context.Context, key string) error { return s.c.Del(ctx, key).Err() }

func (s *stockStore) GetByCode(ctx context.Context, k string) (oauth2.TokenInfo, error) {
	return s.get(ctx, k)
}

func (s *stockStore) GetByAccess(ctx context.Context, k string) (oauth2.TokenInfo, error) {
	return s.get(ctx, k)
}

func (s *stockStore) GetByRefresh(ctx context.Context, k string) (oauth2.TokenInfo, error) {
	return s.get(ctx, k)
}

func (s *stockStore) RemoveByCode(ctx context.Context, k string) error { return s.remove(ctx, k) }

func (s *stockStore) RemoveByAccess(ctx context.Context, k string) error { return s.remove(ctx, k) }

func (s *stockStore) RemoveByRefresh(ctx context.Context, k string) error { return s.remove(ctx, k) }
