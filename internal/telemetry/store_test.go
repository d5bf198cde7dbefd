package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

// failing is a store that answers every call with the same error, or none.
type failing struct{ err error }

func (f failing) Create(context.Context, token.GrantID, []byte, time.Time) error { return f.err }

func (f failing) Get(context.Context, token.GrantID) ([]byte, error) { return []byte("record"), f.err }

func (f failing) Swap(context.Context, token.GrantID, []byte, []byte, time.Time, time.Time) error {
	return f.err
}

func (f failing) Delete(context.Context, token.GrantID, []byte) error { return f.err }

func (f failing) Now(context.Context) (time.Time, error) { return time.Unix(7, 0), f.err }

// Each call is counted once under its result, is one span with the verdict, and
// passes on what the store answered; without traces it is counted all the same.
func TestStore(t *testing.T) {
	t.Parallel()
	broken := errors.New("a store that breaks its contract")
	for _, tt := range []struct {
		err     error
		result  string
		verdict string // "": the span has none
		failed  bool   // the span is marked as an error
	}{
		{nil, "ok", "", false},
		{token.ErrNotFound, "not_found", "no such grant", false},
		{fmt.Errorf("wrapped: %w", token.ErrExists), "exists", "the grant id is taken", false},
		{token.ErrConflict, "conflict", "the grant has changed", false},
		{token.ErrLate, "late", string(token.ErrLate), false},
		{fmt.Errorf("%w: cut off", token.ErrUnavailable), "unavailable", string(token.ErrUnavailable), true},
		{broken, "unavailable", "", false},
	} {
		for _, traced := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.result, " ", tt.err, " ", traced), func(t *testing.T) {
				t.Parallel()
				recorder := tracetest.NewSpanRecorder()
				m := telemetry.NewMetrics(token.NewClock(time.Now))
				s := telemetry.Store(failing{tt.err}, m, nil)
				if traced {
					s = telemetry.Store(failing{tt.err}, m, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
				}
				ctx, id := t.Context(), token.GrantID{}
				record, getErr := s.Get(ctx, id)
				now, nowErr := s.Now(ctx)
				if string(record) != "record" || !now.Equal(time.Unix(7, 0)) {
					t.Errorf("got %q and %v", record, now)
				}
				for op, err := range map[string]error{
					"create": s.Create(ctx, id, nil, time.Time{}),
					"get":    getErr,
					"swap":   s.Swap(ctx, id, nil, nil, time.Time{}, time.Time{}),
					"delete": s.Delete(ctx, id, nil),
					"now":    nowErr,
				} {
					if err != tt.err {
						t.Errorf("%s: %v", op, err)
					}
					if n := calls(t, m.Registry(), op); len(n) != 1 || n[tt.result] != 1 {
						t.Errorf("%s is counted as %v", op, n)
					}
				}
				want := map[string]bool{}
				if traced {
					want = map[string]bool{"store.create": true, "store.get": true, "store.swap": true, "store.delete": true, "store.now": true}
				}
				for _, span := range recorder.Ended() {
					if !want[span.Name()] {
						t.Errorf("a span %s that is not wanted, or twice", span.Name())
					}
					delete(want, span.Name())
					attributes := attribute.NewSet(span.Attributes()...)
					verdict, _ := attributes.Value("authsvc.verdict")
					if verdict.AsString() != tt.verdict || (span.Status().Code == codes.Error) != tt.failed {
						t.Errorf("%s: %v %v", span.Name(), span.Attributes(), span.Status())
					}
				}
				if len(want) != 0 {
					t.Errorf("no spans %v", want)
				}
			})
		}
	}
}

// calls returns how often an operation was measured, by result, without those that
// never were.
func calls(t *testing.T, r *prometheus.Registry, op string) map[string]uint64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]uint64{}
	for _, f := range families {
		if f.GetName() != "authsvc_store_call_duration_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if count := m.GetHistogram().GetSampleCount(); labels["op"] == op && count > 0 {
				n[labels["result"]] = count
			}
		}
	}
	return n
}
