package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"authsvc/internal/token"
)

// Run checks every sentence of the contract of token.Store. open returns the
// store to check, and closes it with the test; stores may share their records.
// The store must be available, and its clock that of this machine.
func Run(t *testing.T, open func(t *testing.T) token.Store) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := c.run(ctx, open(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// patience bounds a check. It is long because a store that keeps the contract
// does not use it.
const patience = 60 * time.Second

// check returns what is wrong with a store. It is a value, not a test, so that tests can
// show that it fails for a broken store.
type check struct {
	name string
	run  func(context.Context, token.Store) error
}

var checks = []check{
	{"a record is kept as it is", keeps},
	{"an id is taken once", takesOnce},
	{"ids are apart", keepsApart},
	{"what is not there is not found", findsNothing},
	{"the bytes are the caller's own", copies},
	{"a swap replaces the record", swaps},
	{"a swap of another record is a conflict", conflicts},
	{"a swap can be repeated", repeats},
	{"a swap that is too late does nothing", refusesLate},
	{"a delete removes, and can be repeated", deletes},
	{"a delete of another record is a conflict", sparesAnother},
	{"a record is forgotten at its time", forgets},
	{"a swap sets the time anew", forgetsAnew},
	{"a call whose context has ended is unavailable", honoursContext},
	{"the clock goes, in fine steps", tells},
	{"of racing creates one succeeds", createsOne},
	{"of racing swaps one succeeds", swapsOne},
	{"of a swap and a delete that race one succeeds", swapsOrDeletes},
	{"histories are linearizable", linearizable},
}

func newID() (id token.GrantID) {
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// Times far enough away for no check to reach them.
func later() time.Time   { return time.Now().Add(time.Hour) }
func longAgo() time.Time { return time.Now().Add(-time.Hour) }

var (
	one   = []byte("one")
	two   = []byte("two")
	three = []byte("three")
)

// steps runs the steps of a check up to the first that goes wrong.
func steps(all ...func() error) error {
	for i, step := range all {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// subject is one record of a store, with steps that expect something of it.
type subject struct {
	ctx context.Context
	s   token.Store
	id  token.GrantID
}

func (r subject) create(record []byte, want error) func() error {
	return r.createUntil(record, later(), want)
}

func (r subject) createUntil(record []byte, expireAt time.Time, want error) func() error {
	return func() error { return verdict("Create", r.s.Create(r.ctx, r.id, record, expireAt), want) }
}

func (r subject) swap(was, next []byte, want error) func() error {
	return r.swapUntil(was, next, later(), want)
}

func (r subject) swapUntil(was, next []byte, expireAt time.Time, want error) func() error {
	return r.swapBy(was, next, expireAt, later(), want)
}

func (r subject) swapBy(was, next []byte, expireAt, notAfter time.Time, want error) func() error {
	return func() error {
		return verdict("Swap", r.s.Swap(r.ctx, r.id, was, next, expireAt, notAfter), want)
	}
}

func (r subject) delete(was []byte, want error) func() error {
	return func() error { return verdict("Delete", r.s.Delete(r.ctx, r.id, was), want) }
}

func (r subject) holds(want []byte) func() error {
	return func() error {
		got, err := r.s.Get(r.ctx, r.id)
		if err == nil && !bytes.Equal(got, want) {
			return fmt.Errorf("Get: %.60q (%d bytes), want %.60q (%d bytes)", got, len(got), want, len(want))
		}
		return verdict("Get", err, nil)
	}
}

func (r subject) absent() func() error {
	return func() error {
		_, err := r.s.Get(r.ctx, r.id)
		return verdict("Get", err, token.ErrNotFound)
	}
}

// forgotten waits until the record is gone.
func (r subject) forgotten() func() error {
	return func() error {
		for {
			_, err := r.s.Get(r.ctx, r.id)
			if err != nil {
				return verdict("Get of a record that was to be forgotten", err, token.ErrNotFound)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// mismatch is a call that did not return the error that was wanted.
type mismatch struct {
	call      string
	got, want error
}

func (m *mismatch) Error() string { return fmt.Sprintf("%s: %v, want %v", m.call, m.got, m.want) }

// verdict checks that an error is the expected sentinel and no other.
func verdict(call string, got, want error) error {
	for _, v := range []error{token.ErrNotFound, token.ErrExists, token.ErrConflict, token.ErrUnavailable} {
		if errors.Is(got, v) != (want != nil && errors.Is(want, v)) {
			return &mismatch{call, got, want}
		}
	}
	if (got == nil) != (want == nil) {
		return &mismatch{call, got, want}
	}
	return nil
}

func keeps(ctx context.Context, s token.Store) error {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	long := bytes.Repeat([]byte("\x00\xff\r\n%s\\\"'"), 1024)[:8<<10]
	for _, record := range [][]byte{{}, {0}, {0xff}, {'1'}, []byte("\r\n"), []byte("-12"), []byte("$-1\r\n"), every, long} {
		r := subject{ctx, s, newID()}
		if err := steps(
			r.create(record, nil), r.holds(record),
			r.swap(record, one, nil), r.holds(one),
			r.swap(one, record, nil), r.holds(record),
			r.swap(append(bytes.Clone(record), 0), one, token.ErrConflict), r.holds(record),
			r.delete(append(bytes.Clone(record), 0), token.ErrConflict), r.holds(record),
			r.delete(record, nil), r.absent(),
		); err != nil {
			return fmt.Errorf("record %.20q: %w", record, err)
		}
	}
	return nil
}

func takesOnce(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	return steps(
		r.create(one, nil),
		r.create(two, token.ErrExists), r.holds(one),
		r.create(one, token.ErrExists), r.holds(one), // a create can't be repeated
		r.delete(one, nil),
		r.create(two, nil), r.holds(two),
	)
}

func keepsApart(ctx context.Context, s token.Store) error {
	a, b := subject{ctx, s, newID()}, subject{ctx, s, newID()}
	// Ids that a careless key would merge.
	low, high := a.id, a.id
	low[15], high[15] = 0, 0xff
	c, d := subject{ctx, s, low}, subject{ctx, s, high}
	a.id[15] = 7
	return steps(
		a.create(one, nil), b.absent(), c.absent(), d.absent(),
		b.create(two, nil), c.create(three, nil), d.create(one, nil),
		b.swap(two, three, nil), c.delete(three, nil),
		a.holds(one), b.holds(three), c.absent(), d.holds(one),
	)
}

func findsNothing(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	return steps(r.absent(), r.swap(one, two, token.ErrConflict), r.absent(), r.delete(one, nil), r.absent())
}

func copies(ctx context.Context, s token.Store) error {
	scribble := func(b []byte) {
		for i := range b {
			b[i] ^= 0x55
		}
	}
	for _, size := range []int{1, 300} { // a single byte can be shared where more are not
		r := subject{ctx, s, newID()}
		a, b := bytes.Repeat([]byte{'a'}, size), bytes.Repeat([]byte{'b'}, size)
		arg, was, next := bytes.Clone(a), bytes.Clone(a), bytes.Clone(b)
		read := func() error {
			got, err := s.Get(ctx, r.id)
			scribble(got)
			return err
		}
		err := steps(
			r.create(arg, nil),
			func() error { scribble(arg); return nil }, r.holds(a),
			read, r.holds(a),
			r.swap(was, next, nil),
			func() error { scribble(was); scribble(next); return nil }, r.holds(b),
			read, r.holds(b),
		)
		if err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
	}
	return nil
}

func swaps(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	return steps(
		r.create(one, nil),
		r.swap(one, two, nil), r.holds(two),
		r.swap(two, three, nil), r.holds(three),
		r.swap(three, one, nil), r.holds(one),
		r.swap(one, one, nil), r.holds(one),
	)
}

func conflicts(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	return steps(
		r.create(one, nil),
		r.swap(two, three, token.ErrConflict), r.holds(one),
		r.swap(nil, three, token.ErrConflict), r.holds(one),
		r.swap([]byte("ONE"), three, token.ErrConflict), r.holds(one),
		r.swap([]byte("on"), three, token.ErrConflict), r.holds(one),
		r.swap([]byte("one\x00"), three, token.ErrConflict), r.holds(one),
		r.delete(one, nil),
		r.swap(one, two, token.ErrConflict), r.absent(),
	)
}

func repeats(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	return steps(
		r.create(one, nil),
		r.swap(one, two, nil),
		r.swap(one, two, nil), r.holds(two),
		r.swap(three, two, nil), r.holds(two), // it holds next, however it came
		r.swapBy(one, two, later(), longAgo(), nil), r.holds(two),
		r.swap(two, three, nil),
		r.swap(one, two, token.ErrConflict), r.holds(three),
		r.delete(three, nil),
		r.swap(two, three, token.ErrConflict), r.absent(),
	)
}

func refusesLate(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	var now time.Time
	past := func() error {
		return verdict("Swap with a not-after in the past",
			s.Swap(ctx, r.id, one, two, later(), now.Add(-time.Millisecond)), token.ErrLate)
	}
	future := func() error {
		return verdict("Swap with a not-after in the future", s.Swap(ctx, r.id, one, two, later(), now.Add(time.Minute)), nil)
	}
	return steps(
		r.create(one, nil),
		func() (err error) { now, err = s.Now(ctx); return verdict("Now", err, nil) },
		past, r.holds(one),
		r.swapBy(one, two, later(), time.Unix(1, 0), token.ErrLate), r.holds(one),
		r.swapBy(one, two, later(), time.Time{}, token.ErrLate), r.holds(one),
		future, r.holds(two),
		r.swapBy(two, three, later(), time.Now().AddDate(200, 0, 0), nil), r.holds(three),
	)
}

func deletes(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	return steps(
		r.create(one, nil),
		r.delete(one, nil), r.absent(),
		r.delete(one, nil), r.delete(two, nil), r.delete(nil, nil), r.absent(), // it is gone, however it went
		r.create(two, nil), r.holds(two),
		r.swap(two, three, nil), r.delete(three, nil), r.absent(),
	)
}

func sparesAnother(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	return steps(
		r.create(one, nil),
		r.delete(two, token.ErrConflict), r.holds(one),
		r.delete(nil, token.ErrConflict), r.holds(one),
		r.delete([]byte("ONE"), token.ErrConflict), r.holds(one),
		r.delete([]byte("on"), token.ErrConflict), r.holds(one),
		r.delete([]byte("one\x00"), token.ErrConflict), r.holds(one),
		r.swap(one, two, nil),
		r.delete(one, token.ErrConflict), r.holds(two), // what it was before
		r.delete(two, nil), r.absent(),
	)
}

func forgets(ctx context.Context, s token.Store) error {
	stays := subject{ctx, s, newID()}
	soon := func(r subject) error {
		return steps(
			func() error { return r.createUntil(one, time.Now().Add(50*time.Millisecond), nil)() },
			r.forgotten(),
			r.swap(one, two, token.ErrConflict), r.absent(),
			r.swap(two, one, token.ErrConflict), r.absent(),
			r.delete(two, nil),
		)
	}
	r, again := subject{ctx, s, newID()}, subject{ctx, s, newID()}
	return steps(
		stays.create(one, nil),
		r.createUntil(one, longAgo(), nil), r.forgotten(),
		r.createUntil(one, time.Unix(0, 0), nil), r.forgotten(),
		r.createUntil(one, time.Time{}, nil), r.forgotten(),
		func() error { return soon(again) },
		again.create(two, nil), again.holds(two), // its id is free
		stays.holds(one),
	)
}

func forgetsAnew(ctx context.Context, s token.Store) error {
	longer, shorter, gone, witness := subject{ctx, s, newID()}, subject{ctx, s, newID()}, subject{ctx, s, newID()}, subject{ctx, s, newID()}
	soon := time.Now().Add(500 * time.Millisecond)
	err := longer.createUntil(one, soon, nil)()
	if err == nil {
		err = longer.swap(one, two, nil)()
	}
	if err != nil {
		if !time.Now().Before(soon) {
			// The machine was too busy to swap it in time.
			return forgetsAnew(ctx, s)
		}
		return err
	}
	return steps(
		witness.createUntil(one, soon, nil),
		shorter.create(one, nil), shorter.swapUntil(one, two, soon, nil),
		gone.create(one, nil), gone.swapUntil(one, two, longAgo(), nil),
		witness.forgotten(), longer.holds(two), // though the time it was created with has come
		shorter.forgotten(), gone.forgotten(),
	)
}

func honoursContext(ctx context.Context, s token.Store) error {
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	late, cancel := context.WithDeadline(ctx, longAgo())
	defer cancel()
	live := subject{ctx, s, newID()}
	if err := live.create(one, nil)(); err != nil {
		return err
	}
	for _, over := range []context.Context{canceled, late} {
		r := subject{over, s, live.id}
		if err := steps(
			r.create(two, token.ErrUnavailable),
			subject{over, s, newID()}.create(two, token.ErrUnavailable),
			func() error {
				_, err := s.Get(over, r.id)
				return verdict("Get", err, token.ErrUnavailable)
			},
			r.swap(two, three, token.ErrUnavailable),
			func() error { return verdict("Delete", s.Delete(over, live.id, one), token.ErrUnavailable) },
			func() error {
				_, err := s.Now(over)
				return verdict("Now", err, token.ErrUnavailable)
			},
		); err != nil {
			return fmt.Errorf("%w: %w", over.Err(), err)
		}
	}
	return live.holds(one)()
}

func tells(ctx context.Context, s token.Store) error {
	first, err := s.Now(ctx)
	if err != nil {
		return verdict("Now", err, nil)
	}
	if d := time.Since(first).Abs(); d > time.Minute {
		return fmt.Errorf("Now: %v, which is %v off", first, d)
	}
	fine := false
	for last := first; !last.After(first) || !fine; {
		now, err := s.Now(ctx)
		if err != nil {
			return fmt.Errorf("the clock stands still at %v, or goes in whole seconds: %w", last, err)
		}
		if now.Before(last) {
			return fmt.Errorf("Now: %v, after %v", now, last)
		}
		last, fine = now, fine || now.Nanosecond() != 0
	}
	return nil
}
