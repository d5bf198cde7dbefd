package httpapi_test

import (
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"authsvc/internal/httpapi"
	"authsvc/internal/token"
)

// Without traces nothing stands between a request and its handler.
func TestNothingIsWrappedWithoutTraces(t *testing.T) {
	t.Parallel()
	h, err := httpapi.New(httpapi.Config{Issuer: issuer, Metrics: httpapi.NewMetrics(token.NewClock(time.Now))})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := h.(*gin.Engine); !ok {
		t.Errorf("the handler is a %T", h)
	}
}
