package httpapi

import "net/http"

// revoke is POST /oauth/revoke (RFC 7009). A token that is unknown, or dead
// already, is a success: section 2.2.
func (x *exchange) revoke() error {
	q, who, err := x.caller()
	if err != nil {
		return err
	}
	if err := q.requireToken(); err != nil {
		return err
	}
	ctx, cancel := x.storeContext()
	defer cancel()
	if err := x.server.cfg.Manager.Revoke(ctx, who, q.values[tokenParam]); err != nil {
		return err
	}
	return x.render(http.StatusOK, struct{}{})
}
