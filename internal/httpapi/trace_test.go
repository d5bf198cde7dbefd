package httpapi_test

import (
	"testing"

	"github.com/gin-gonic/gin"

	"authsvc/internal/httpapi"
)

// Without traces nothing stands between a request and its handler.
func TestNothingIsWrappedWithoutTraces(t *testing.T) {
	t.Parallel()
	h, err := httpapi.New(httpapi.Config{Issuer: issuer})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := h.(*gin.Engine); !ok {
		t.Errorf("the handler is a %T", h)
	}
}
