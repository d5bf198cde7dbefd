package token

import (
	"context"
	"time"
)

// Store keeps the records of grants. A record is opaque to it: bytes under an
// id, with the time at which they may be forgotten. Package storetest decides
// whether an implementation is one.
//
// Every method honours its context: when that ends, the method returns soon,
// with ErrUnavailable, whatever became of the command. Any error that is not
// one of the sentinels named at a method is, or wraps, ErrUnavailable: the
// store gave no answer and nothing is known. Implementations are safe for
// concurrent use.
type Store interface {
	// Create keeps a record under an id that holds none, until expireAt.
	//
	// It is tried at most once. After ErrUnavailable the record may exist, now
	// or later, so the caller tries again under a fresh id, never under the
	// same: the first attempt could land after the grant was revoked and
	// bring it back. ErrExists means the id is taken, and nothing was changed.
	Create(ctx context.Context, id GrantID, record []byte, expireAt time.Time) error

	// Get returns the record of an id, or ErrNotFound. It is current: what a
	// Swap or Delete that has returned did is seen, by whomever it was called.
	// The bytes are the caller's own.
	Get(ctx context.Context, id GrantID) ([]byte, error)

	// Swap replaces the record by another, to be kept until expireAt, if it
	// still equals was, byte for byte. It is atomic: of any number of swaps
	// of one record, one succeeds.
	//
	// It is safe to repeat, and an implementation may repeat it: it succeeds
	// when the store already holds next. It never takes effect when the
	// store's clock has passed notAfter, so a swap that was given up never
	// lands late. ErrConflict means the record is another, or gone; ErrLate
	// that notAfter had passed; ErrUnavailable that it may or may not have
	// been replaced.
	Swap(ctx context.Context, id GrantID, was, next []byte, expireAt, notAfter time.Time) error

	// Delete removes a record. Removing what is not there succeeds; it is
	// safe to repeat.
	Delete(ctx context.Context, id GrantID) error

	// Now returns the time by the store's clock, to a millisecond or better.
	Now(ctx context.Context) (time.Time, error)
}

// StoreError is a verdict of a Store, to be compared with errors.Is.
type StoreError string

// The verdicts of a Store.
const (
	ErrNotFound    StoreError = "no such grant"
	ErrExists      StoreError = "the grant id is taken"
	ErrConflict    StoreError = "the grant has changed"
	ErrLate        StoreError = "the swap came after its time, and did nothing"
	ErrUnavailable StoreError = "the token store is unavailable"
)

// Error returns the verdict in words.
func (e StoreError) Error() string { return string(e) }
