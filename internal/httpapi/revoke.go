package httpapi

import (
	"net/http"

	"authsvc/internal/answer"
)

// revoke handles POST /oauth/revoke (RFC 7009). Revoking an unknown or invalid token
// succeeds (section 2.2).
func (s *server) revoke(x *answer.Exchange) error {
	r, who, err := s.tokenCaller(x)
	if err != nil {
		return err
	}
	if err := r.tokenRequired(x); err != nil {
		return err
	}
	ctx, cancel := s.storeContext(x)
	defer cancel()
	i, err := s.cfg.Manager.Revoke(ctx, who, r.token)
	v := verdict(err, "revoked")
	if i.Reason != nil { // there was nothing to revoke
		v = i.Reason.Row.Code()
	}
	noteToken(x, i.Presented, v)
	if err != nil {
		return err
	}
	return x.JSON(http.StatusOK, struct{}{})
}
