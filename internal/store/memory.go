package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"authsvc/internal/token"
)

// Memory keeps records in this process. It is safe for concurrent use.
type Memory struct {
	now func() time.Time

	mu      sync.Mutex
	records map[token.GrantID]kept
	sweepAt int // the number of records at which the expired ones are thrown out
	closed  bool
}

var _ Opened = (*Memory)(nil)

type kept struct {
	record   string // cannot be changed, so what goes in and out is a copy
	expireAt time.Time
}

// minSweep spares a small store from being swept over and over.
const minSweep = 1024

// NewMemory returns an empty store whose clock is now (time.Now, outside tests).
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, records: map[token.GrantID]kept{}, sweepAt: minSweep}
}

// Close throws the records away.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.records = true, nil
	return nil
}

// Create is token.Store's.
func (m *Memory) Create(ctx context.Context, id token.GrantID, record []byte, expireAt time.Time) error {
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

// Get is token.Store's.
func (m *Memory) Get(ctx context.Context, id token.GrantID) ([]byte, error) {
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

// Swap is token.Store's.
func (m *Memory) Swap(ctx context.Context, id token.GrantID, was, next []byte, expireAt, notAfter time.Time) error {
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

// Delete is token.Store's.
func (m *Memory) Delete(ctx context.Context, id token.GrantID) error {
	if _, err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.records, id)
	return nil
}

// Now is token.Store's.
func (m *Memory) Now(ctx context.Context) (time.Time, error) {
	now, err := m.enter(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer m.mu.Unlock()
	return now, nil
}

// enter begins a call: without an error the lock is held.
func (m *Memory) enter(ctx context.Context) (now time.Time, err error) {
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

func (m *Memory) get(id token.GrantID, now time.Time) (string, bool) {
	k, ok := m.records[id]
	return k.record, ok && now.Before(k.expireAt)
}

// sweep throws out what has expired. The next sweep comes when the records have
// doubled, so each create pays for a constant share of it, and there are never
// more than twice as many records as were alive at the last one.
func (m *Memory) sweep(now time.Time) {
	for id, k := range m.records {
		if !now.Before(k.expireAt) {
			delete(m.records, id)
		}
	}
	m.sweepAt = max(minSweep, 2*len(m.records))
}
