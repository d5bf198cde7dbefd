package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/anishathalye/porcupine"

	"authsvc/internal/token"
)

// The size of the concurrent checks: enough to catch a store that reads and writes in two
// steps, and a second or two for one that does not.
const (
	racers      = 8
	generations = 40
	rounds      = 6
	operations  = 40 // of one racer in one round
	recordIDs   = 3
	values      = 4 // few, so that swaps meet, repeat, and come back to an earlier value
)

// race calls f at once from every racer and returns what each returned.
func race(f func(racer int) error) []error {
	errs := make([]error, racers)
	var ready, done sync.WaitGroup
	ready.Add(racers)
	for i := range racers {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = f(i)
		})
	}
	done.Wait()
	return errs
}

// winner returns the racer that succeeded, if exactly one did and the others lost.
func winner(errs []error, lost error) (int, error) {
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won >= 0:
			return 0, fmt.Errorf("racers %d and %d both succeeded", won, i)
		case err == nil:
			won = i
		case !errors.Is(err, lost):
			return 0, fmt.Errorf("racer %d: %w, want %w", i, err, lost)
		}
	}
	if won < 0 {
		return 0, errors.New("no racer succeeded")
	}
	return won, nil
}

func mark(generation, racer int) []byte { return fmt.Appendf(nil, "%d by %d", generation, racer) }

func createsOne(ctx context.Context, s token.Store) error {
	for g := range generations {
		r := subject{ctx, s, newID()}
		won, err := winner(race(func(i int) error { return s.Create(ctx, r.id, mark(g, i), later()) }), token.ErrExists)
		if err == nil {
			err = r.holds(mark(g, won))()
		}
		if err != nil {
			return fmt.Errorf("create %d: %w", g, err)
		}
	}
	return nil
}

func swapsOne(ctx context.Context, s token.Store) error {
	r := subject{ctx, s, newID()}
	held := []byte("the first")
	if err := r.create(held, nil)(); err != nil {
		return err
	}
	for g := range generations {
		won, err := winner(race(func(i int) error {
			return s.Swap(ctx, r.id, bytes.Clone(held), mark(g, i), later(), later())
		}), token.ErrConflict)
		if err == nil {
			held = mark(g, won)
			err = r.holds(held)()
		}
		if err != nil {
			return fmt.Errorf("generation %d: %w", g, err)
		}
	}
	return nil
}

// swapsOrDeletes lets half of the racers swap a record, and the others delete it. Once it
// is gone, every delete succeeds.
func swapsOrDeletes(ctx context.Context, s token.Store) error {
	for g := range generations {
		r := subject{ctx, s, newID()}
		held := mark(g, racers)
		if err := r.create(held, nil)(); err != nil {
			return err
		}
		errs := race(func(i int) error {
			if i%2 == 0 {
				return s.Delete(ctx, r.id, bytes.Clone(held))
			}
			return s.Swap(ctx, r.id, bytes.Clone(held), mark(g, i), later(), later())
		})
		deleted := errs[0] == nil
		won := -1
		for i, err := range errs {
			switch {
			case err != nil && !errors.Is(err, token.ErrConflict):
				return fmt.Errorf("generation %d, racer %d: %w", g, i, err)
			case i%2 == 0 && (err == nil) != deleted:
				return fmt.Errorf("generation %d: racer 0 deletes: %w, racer %d: %w", g, errs[0], i, err)
			case i%2 == 1 && err == nil && (deleted || won >= 0):
				return fmt.Errorf("generation %d: racer %d swaps what another has deleted or swapped", g, i)
			case i%2 == 1 && err == nil:
				won = i
			}
		}
		end := r.absent()
		if !deleted {
			if won < 0 {
				return fmt.Errorf("generation %d: no racer succeeded", g)
			}
			end = r.holds(mark(g, won))
		}
		if err := end(); err != nil {
			return fmt.Errorf("generation %d: %w", g, err)
		}
	}
	return nil
}

// linearizable lets racers do random operations on a few records, and checks that their
// results are consistent with one order of all of them (Herlihy and Wing 1990).
func linearizable(ctx context.Context, s token.Store) error {
	for range rounds {
		history, err := record(ctx, s)
		if err != nil {
			return err
		}
		switch porcupine.CheckOperationsTimeout(model, history, patience) {
		case porcupine.Illegal:
			return errors.New("no order of the calls explains what they returned")
		case porcupine.Unknown:
			return errors.New("the history could not be checked in time")
		case porcupine.Ok:
		}
	}
	return nil
}

type opKind int

const (
	opCreate opKind = iota
	opGet
	opSwap
	opDelete
)

type op struct {
	kind      opKind
	id        token.GrantID
	was, next string
}

type result struct {
	value string // of a Get
	err   error  // nil, ErrNotFound, ErrExists or ErrConflict
}

// record returns the history of one round. Its times come from a counter, so that they
// give the order and are never equal.
func record(ctx context.Context, s token.Store) ([]porcupine.Operation, error) {
	var ids [recordIDs]token.GrantID
	for i := range ids {
		ids[i] = newID()
	}
	var now atomic.Int64
	histories := make([][]porcupine.Operation, racers)
	errs := race(func(racer int) error {
		for range operations {
			in := op{kind: opKind(rand.N(4)), id: ids[rand.N(len(ids))], was: value(), next: value()}
			if rand.N(4) == 0 {
				in.kind = opSwap // what matters most
			}
			call := now.Add(1)
			out := in.do(ctx, s)
			if out.err != nil && !errors.Is(out.err, token.ErrNotFound) && !errors.Is(out.err, token.ErrExists) && !errors.Is(out.err, token.ErrConflict) {
				return out.err
			}
			histories[racer] = append(histories[racer], porcupine.Operation{
				ClientId: racer, Input: in, Call: call, Output: out, Return: now.Add(1),
			})
		}
		return nil
	})
	var all []porcupine.Operation
	for _, h := range histories {
		all = append(all, h...)
	}
	return all, errors.Join(errs...)
}

func value() string { return string(rune('a' + rand.N(values))) }

func (o op) do(ctx context.Context, s token.Store) (r result) {
	switch o.kind {
	case opCreate:
		r.err = s.Create(ctx, o.id, []byte(o.next), later())
	case opGet:
		var b []byte
		b, r.err = s.Get(ctx, o.id)
		r.value = string(b)
	case opSwap:
		r.err = s.Swap(ctx, o.id, []byte(o.was), []byte(o.next), later(), later())
	case opDelete:
		r.err = s.Delete(ctx, o.id, []byte(o.was))
	}
	return r
}

// model models a store of one record; its state is the record, or "" if there is none.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byID := map[token.GrantID][]porcupine.Operation{}
		for _, o := range history {
			id := o.Input.(op).id
			byID[id] = append(byID[id], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byID {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		held, in, out := state.(string), input.(op), output.(result)
		switch in.kind {
		case opCreate:
			if held != "" {
				return errors.Is(out.err, token.ErrExists), held
			}
			return out.err == nil, in.next
		case opGet:
			if held == "" {
				return errors.Is(out.err, token.ErrNotFound), held
			}
			return out.err == nil && out.value == held, held
		case opSwap:
			if held != "" && (held == in.was || held == in.next) { // in.next: it is a repeat
				return out.err == nil, in.next
			}
			return errors.Is(out.err, token.ErrConflict), held
		default:
			if held != "" && held != in.was {
				return errors.Is(out.err, token.ErrConflict), held
			}
			return out.err == nil, ""
		}
	},
}
