package memory

import (
	"errors"
	"testing"
	"time"

	"authsvc/internal/store/storetest"
	"authsvc/internal/token"
)

func TestMemoryIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) token.Store { return New(time.Now) })
}

func TestMemoryIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := New(func() time.Time { return now })
	const alive = 5000 // each record lives that many creates
	most := 0
	for i := range 20 * alive {
		now = now.Add(time.Second)
		id := token.GrantID{byte(i), byte(i >> 8), byte(i >> 16)}
		if err := m.Create(t.Context(), id, []byte("record"), now.Add(alive*time.Second)); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(m.records))
	}
	if most > 2*alive+minSweep {
		t.Errorf("held up to %d records of which %d were alive", most, alive)
	}
}

func TestMemoryClosed(t *testing.T) {
	m := New(time.Now)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Create(t.Context(), token.GrantID{}, nil, time.Now().Add(time.Hour)); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("Create after Close: %v", err)
	}
	if _, err := m.Now(t.Context()); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("Now after Close: %v", err)
	}
}
