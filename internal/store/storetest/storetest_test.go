package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"authsvc/internal/store/memory"
	"authsvc/internal/token"
)

// inner is the good store that each broken one spoils.
type inner = token.Store

// Every store below breaks one sentence of the contract, and the checks named
// with it must say so.
func TestBrokenStoresAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(inner) token.Store
		failed []string
		waits  bool // for what never happens
	}{
		"swap ignores was": {
			spoil:  func(s inner) token.Store { return &ignoresWas{s} },
			failed: []string{"a swap of another record is a conflict", "of racing swaps one succeeds", "histories are linearizable"},
		},
		"swap is two steps": {
			spoil:  func(s inner) token.Store { return &twoSteps{inner: s} },
			failed: []string{"of racing swaps one succeeds", "histories are linearizable"},
		},
		"swap ignores not-after": {
			spoil:  func(s inner) token.Store { return &ignoresNotAfter{s} },
			failed: []string{"a swap that is too late does nothing"},
		},
		"swap refuses a repeat": {
			spoil:  func(s inner) token.Store { return &refusesRepeat{s} },
			failed: []string{"a swap can be repeated", "histories are linearizable"},
		},
		"swap keeps the first expiry": {
			spoil:  func(s inner) token.Store { return &keepsExpiry{inner: s, first: map[token.GrantID]time.Time{}} },
			failed: []string{"a swap sets the time anew"},
		},
		"swap creates": {
			spoil:  func(s inner) token.Store { return &swapCreates{s} },
			failed: []string{"what is not there is not found", "a swap of another record is a conflict"},
		},
		"get shares its bytes": {
			spoil:  func(s inner) token.Store { return &shares{inner: s, held: map[token.GrantID][]byte{}} },
			failed: []string{"the bytes are the caller's own"},
		},
		"get is stale": {
			spoil:  func(s inner) token.Store { return &stale{inner: s, seen: map[token.GrantID][]byte{}} },
			failed: []string{"a swap replaces the record", "histories are linearizable"},
		},
		"create overwrites": {
			spoil:  func(s inner) token.Store { return &overwrites{s} },
			failed: []string{"an id is taken once", "of racing creates one succeeds", "histories are linearizable"},
		},
		"delete of nothing fails": {
			spoil:  func(s inner) token.Store { return &deleteFails{s} },
			failed: []string{"a delete removes, and can be repeated"},
		},
		"delete ignores was": {
			spoil:  func(s inner) token.Store { return ignoresWasInDelete{s} },
			failed: []string{"a delete of another record is a conflict", "histories are linearizable"},
		},
		"delete is two steps": {
			spoil:  func(s inner) token.Store { return deletesInTwoSteps{s} },
			failed: []string{"of a swap and a delete that race one succeeds", "histories are linearizable"},
		},
		"nothing is forgotten": {
			spoil:  func(s inner) token.Store { return &forgetsNothing{s} },
			failed: []string{"a record is forgotten at its time", "a swap sets the time anew"},
			waits:  true,
		},
		"the context is ignored": {
			spoil:  func(s inner) token.Store { return &ignoresContext{s} },
			failed: []string{"a call whose context has ended is unavailable"},
		},
		"the clock has whole seconds": {
			spoil:  func(s inner) token.Store { return &coarse{s} },
			failed: []string{"the clock goes, in fine steps"},
			waits:  true,
		},
		"ids are cut": {
			spoil:  func(s inner) token.Store { return &cutsIDs{s} },
			failed: []string{"ids are apart"},
		},
		"records are text": {
			spoil:  func(s inner) token.Store { return &trims{s} },
			failed: []string{"a record is kept as it is"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, failed := range c.failed {
				i := slices.IndexFunc(checks, func(c check) bool { return c.name == failed })
				if i < 0 {
					t.Fatalf("there is no check %q", failed)
				}
				limit := patience
				if c.waits {
					limit = time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				err := checks[i].run(ctx, c.spoil(memory.New(time.Now)))
				if err == nil || (ctx.Err() != nil) != c.waits {
					t.Errorf("%q: %v, and the context: %v", failed, err, ctx.Err())
				}
				cancel()
			}
		})
	}
}

type ignoresWas struct{ inner }

func (b *ignoresWas) Swap(ctx context.Context, id token.GrantID, _, next []byte, expireAt, notAfter time.Time) error {
	held, err := b.Get(ctx, id)
	if errors.Is(err, token.ErrNotFound) {
		return token.ErrConflict
	}
	if err != nil {
		return err
	}
	return b.inner.Swap(ctx, id, held, next, expireAt, notAfter)
}

// twoSteps compares and sets, one after the other, with time between.
type twoSteps struct {
	inner
	mu sync.Mutex
}

func (b *twoSteps) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, _ time.Time) error {
	held, err := b.Get(ctx, id)
	switch {
	case err == nil && bytes.Equal(held, next):
		return nil
	case errors.Is(err, token.ErrNotFound) || (err == nil && !bytes.Equal(held, was)):
		return token.ErrConflict
	case err != nil:
		return err
	}
	time.Sleep(50 * time.Microsecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.Delete(ctx, id, was)
	return b.Create(ctx, id, next, expireAt)
}

type ignoresNotAfter struct{ inner }

func (b *ignoresNotAfter) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, _ time.Time) error {
	return b.inner.Swap(ctx, id, was, next, expireAt, later())
}

type refusesRepeat struct{ inner }

func (b *refusesRepeat) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	if held, err := b.Get(ctx, id); err == nil && !bytes.Equal(held, was) {
		return token.ErrConflict
	}
	return b.inner.Swap(ctx, id, was, next, expireAt, notAfter)
}

type keepsExpiry struct {
	inner
	first map[token.GrantID]time.Time
}

func (b *keepsExpiry) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	b.first[id] = expireAt
	return b.inner.Create(ctx, id, record, expireAt)
}

func (b *keepsExpiry) Swap(ctx context.Context, id token.GrantID, was, next []byte, _, notAfter time.Time) error {
	return b.inner.Swap(ctx, id, was, next, b.first[id], notAfter)
}

type swapCreates struct{ inner }

func (b *swapCreates) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	if b.Create(ctx, id, next, expireAt) == nil {
		return nil
	}
	return b.inner.Swap(ctx, id, was, next, expireAt, notAfter)
}

type shares struct {
	inner
	held map[token.GrantID][]byte
}

func (b *shares) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	record, err := b.inner.Get(ctx, id)
	if err == nil && len(b.held[id]) == 0 {
		b.held[id] = record
	}
	return b.held[id], err
}

// stale answers a second read of a record with what the first has seen.
type stale struct {
	inner
	mu   sync.Mutex
	seen map[token.GrantID][]byte
}

func (b *stale) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if record, ok := b.seen[id]; ok {
		delete(b.seen, id)
		return record, nil
	}
	record, err := b.inner.Get(ctx, id)
	if err == nil {
		b.seen[id] = record
	}
	return record, err
}

type overwrites struct{ inner }

func (b *overwrites) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	_ = ignoresWasInDelete{b.inner}.Delete(ctx, id, nil)
	return b.inner.Create(ctx, id, record, expireAt)
}

type deleteFails struct{ inner }

func (b *deleteFails) Delete(ctx context.Context, id token.GrantID, was []byte) error {
	if _, err := b.Get(ctx, id); err != nil {
		return err
	}
	return b.inner.Delete(ctx, id, was)
}

type ignoresWasInDelete struct{ inner }

func (b ignoresWasInDelete) Delete(ctx context.Context, id token.GrantID, _ []byte) error {
	for {
		held, err := b.Get(ctx, id)
		switch {
		case errors.Is(err, token.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		if err := b.inner.Delete(ctx, id, held); !errors.Is(err, token.ErrConflict) {
			return err
		}
	}
}

// deletesInTwoSteps compares and deletes, one after the other, with time between.
type deletesInTwoSteps struct{ inner }

func (b deletesInTwoSteps) Delete(ctx context.Context, id token.GrantID, was []byte) error {
	held, err := b.Get(ctx, id)
	switch {
	case errors.Is(err, token.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !bytes.Equal(held, was):
		return token.ErrConflict
	}
	time.Sleep(50 * time.Microsecond)
	return ignoresWasInDelete(b).Delete(ctx, id, was)
}

type forgetsNothing struct{ inner }

func (b *forgetsNothing) Create(ctx context.Context, id token.GrantID, record []byte, _ time.Time) error {
	return b.inner.Create(ctx, id, record, later())
}

func (b *forgetsNothing) Swap(ctx context.Context, id token.GrantID, was, next []byte, _, notAfter time.Time) error {
	return b.inner.Swap(ctx, id, was, next, later(), notAfter)
}

type ignoresContext struct{ inner }

func (b *ignoresContext) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	return b.inner.Get(context.WithoutCancel(ctx), id)
}

type coarse struct{ inner }

func (b *coarse) Now(ctx context.Context) (time.Time, error) {
	now, err := b.inner.Now(ctx)
	return now.Truncate(time.Second), err
}

type cutsIDs struct{ inner }

func (b *cutsIDs) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	id[15] = 0
	return b.inner.Create(ctx, id, record, expireAt)
}

func (b *cutsIDs) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	id[15] = 0
	return b.inner.Get(ctx, id)
}

type trims struct{ inner }

func (b *trims) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	return b.inner.Create(ctx, id, bytes.TrimSpace(record), expireAt)
}
