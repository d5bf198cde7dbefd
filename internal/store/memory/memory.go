package memory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"authsvc/internal/token"
)

// Store keeps records in this process. It is safe for concurrent use.
type Store struct {
	now func() time.Time

	mu      sync.Mutex
	records map[token.GrantID]kept
	sweepAt int // the number of records at which the expired ones are removed
	closed  bool

	outages atomic.Pointer[token.Outages] // by Monitor; nil: nothing yet
}

var _ token.Store = (*Store)(nil)

type kept struct {
	record   string // immutable, so what goes in and out is a copy
	expireAt time.Time
}

// minSweep keeps a small store from being swept over and over.
const minSweep = 1024

// New returns an empty store whose clock is now (time.Now, outside tests).
func New(now func() time.Time) *Store {
	return &Store{now: now, records: map[token.GrantID]kept{}, sweepAt: minSweep}
}

// Close discards the records. Later calls fail with token.ErrUnavailable.
func (m *Store) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.records = true, nil
	return nil
}

// Create implements token.Store.
func (m *Store) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
	now, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, ok := m.get(id, now); ok {
		return token.ErrExists
	}
	if len(m.records) >= m.sweepAt {
		m.sweep(now)
	}
	m.records[id] = kept{string(record), expireAt}
	return nil
}

// Get implements token.Store.
func (m *Store) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	record, ok := m.get(id, now)
	if !ok {
		return nil, token.ErrNotFound
	}
	return []byte(record), nil
}

// Swap implements token.Store.
func (m *Store) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
	now, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	record, ok := m.get(id, now)
	switch {
	case ok && record == string(next):
		return nil
	case now.After(notAfter):
		return token.ErrLate
	case !ok || record != string(was):
		return token.ErrConflict
	}
	m.records[id] = kept{string(next), expireAt}
	return nil
}

// Delete implements token.Store.
func (m *Store) Delete(ctx context.Context, id token.GrantID, was []byte) error {
	now, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if record, ok := m.get(id, now); ok && record != string(was) {
		return token.ErrConflict
	}
	delete(m.records, id)
	return nil
}

// Now implements token.Store.
func (m *Store) Now(ctx context.Context) (time.Time, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer m.mu.Unlock()
	return now, nil
}

// enter begins a call. If it returns no error, the lock is held.
func (m *Store) enter(ctx context.Context) (now time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", token.ErrUnavailable, err)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return time.Time{}, fmt.Errorf("%w: it is closed", token.ErrUnavailable)
	}
	return m.now(), nil
}

func (m *Store) get(id token.GrantID, now time.Time) (string, bool) {
	k, ok := m.records[id]
	return k.record, ok && now.Before(k.expireAt)
}

// sweep removes what has expired. The next sweep is due when the number of records has
// doubled, so each create pays a constant share of it, and there are never more than twice
// as many records as were valid at the last one.
func (m *Store) sweep(now time.Time) {
	for id, k := range m.records {
		if !now.Before(k.expireAt) {
			delete(m.records, id)
		}
	}
	m.sweepAt = max(minSweep, 2*len(m.records))
}
