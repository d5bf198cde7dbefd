package token

import (
	"context"
	"time"
)

// Store stores the records of grants. A record is opaque to it: bytes under an id, with a
// time after which they may be forgotten. Package storetest tests whether an
// implementation keeps this contract.
//
// Every method honors its context: when that ends, the method soon returns
// ErrUnavailable, whatever became of the command. Any error that is not one of the
// sentinels named at a method is or wraps ErrUnavailable: the store gave no answer and
// nothing is known. Implementations must be safe for concurrent use.
type Store interface {
	// Create stores a record under an unused id, until expireAt.
	//
	// It is tried at most once. After ErrUnavailable the record may exist, now or later,
	// so the caller must retry under a new id, never under the same one: the first
	// attempt could take effect after the grant was revoked, and bring it back.
	// ErrExists means that the id is taken and nothing was changed.
	Create(ctx context.Context, id GrantID, record []byte, expireAt time.Time) error

	// Get returns the record of an id, or ErrNotFound. It sees the effect of every Swap
	// and Delete that has returned, whoever called it. The caller owns the bytes.
	Get(ctx context.Context, id GrantID) ([]byte, error)

	// Swap replaces the record by next, to be kept until expireAt, if it still equals
	// was, byte for byte. It is atomic: of any number of swaps of one record, one
	// succeeds.
	//
	// It is safe to repeat, and an implementation may repeat it: it succeeds if the
	// store already holds next. It never takes effect once the store's clock has passed
	// notAfter, so a swap that was given up never takes effect late. ErrConflict means
	// that the record is a different one, or gone; ErrLate that notAfter had passed;
	// ErrUnavailable that it may or may not have been replaced.
	Swap(ctx context.Context, id GrantID, was, next []byte, expireAt, notAfter time.Time) error

	// Delete removes the record if it still equals was, byte for byte. It is atomic: no
	// swap is lost in it.
	//
	// It is safe to repeat, and an implementation may repeat it: removing a record that
	// is gone succeeds, so a repeat after a lost reply does. ErrConflict means that the
	// record is a different one, which stays; ErrUnavailable that it may or may not have
	// been removed, now or later.
	Delete(ctx context.Context, id GrantID, was []byte) error

	// Now returns the time of the store's clock, with a resolution of a millisecond or
	// better.
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
