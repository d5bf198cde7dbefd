package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"authsvc/internal/token"
)

// Store returns s with metrics of its calls and, unless traces is nil, spans within
// that of the request.
func Store(s token.Store, m *Metrics, traces trace.TracerProvider) token.Store {
	o := &observedStore{store: s, durations: m.store}
	if traces != nil {
		o.tracer = traces.Tracer("authsvc/internal/telemetry")
	}
	return o
}

// storeOps are the operations of a token.Store, as metrics and spans name them,
// with the results that each may have beside ok and unavailable.
var storeOps = []struct {
	name    string
	results []string
}{
	{"create", []string{"exists"}},
	{"get", []string{"not_found"}},
	{"swap", []string{"conflict", "late"}},
	{"delete", []string{"conflict"}},
	{"now", nil},
}

// storeResult returns the value of the label result for the error of a call. One that
// breaks the contract of token.Store counts as unavailable.
func storeResult(err error) string {
	switch {
	case err == nil:
		return resultOK
	case errors.Is(err, token.ErrNotFound):
		return "not_found"
	case errors.Is(err, token.ErrExists):
		return "exists"
	case errors.Is(err, token.ErrConflict):
		return "conflict"
	case errors.Is(err, token.ErrLate):
		return "late"
	}
	return resultUnavailable
}

type observedStore struct {
	store     token.Store
	durations *prometheus.HistogramVec
	tracer    trace.Tracer // nil: no spans
}

// storeCall is a call in progress.
type storeCall struct {
	op    string
	start time.Time
	span  trace.Span // nil: none
}

func (s *observedStore) begin(ctx context.Context, op string) (context.Context, storeCall) {
	c := storeCall{op: op}
	if s.tracer != nil {
		ctx, c.span = s.tracer.Start(ctx, "store."+op)
	}
	c.start = time.Now()
	return ctx, c
}

func (s *observedStore) end(c storeCall, err error) {
	s.durations.WithLabelValues(c.op, storeResult(err)).Observe(time.Since(c.start).Seconds())
	if c.span == nil {
		return
	}
	var verdict token.StoreError
	if errors.As(err, &verdict) {
		c.span.SetAttributes(attribute.String("authsvc.verdict", string(verdict)))
	}
	if errors.Is(err, token.ErrUnavailable) { // the log has the cause
		c.span.SetStatus(codes.Error, string(token.ErrUnavailable))
	}
	c.span.End()
}

// Create implements token.Store.
func (s *observedStore) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	ctx, c := s.begin(ctx, "create")
	err := s.store.Create(ctx, id, record, expireAt)
	s.end(c, err)
	return err
}

// Get implements token.Store.
func (s *observedStore) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	ctx, c := s.begin(ctx, "get")
	record, err := s.store.Get(ctx, id)
	s.end(c, err)
	return record, err
}

// Swap implements token.Store.
func (s *observedStore) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	ctx, c := s.begin(ctx, "swap")
	err := s.store.Swap(ctx, id, was, next, expireAt, notAfter)
	s.end(c, err)
	return err
}

// Delete implements token.Store.
func (s *observedStore) Delete(ctx context.Context, id token.GrantID, was []byte) error {
	ctx, c := s.begin(ctx, "delete")
	err := s.store.Delete(ctx, id, was)
	s.end(c, err)
	return err
}

// Now implements token.Store.
func (s *observedStore) Now(ctx context.Context) (time.Time, error) {
	ctx, c := s.begin(ctx, "now")
	now, err := s.store.Now(ctx)
	s.end(c, err)
	return now, err
}
