package tokenclient

import (
	"net/http"
	"strings"
	"testing"
)

func TestUnreachableKeepsTheCause(t *testing.T) {
	t.Parallel()
	if err := Unreachable(http.ErrSchemeMismatch, 0, ""); !strings.HasSuffix(err.Error(), "("+http.ErrSchemeMismatch.Error()+")") {
		t.Error(err)
	}
}
