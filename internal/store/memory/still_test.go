package memory

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"authsvc/internal/token"
)

// When a process stood still is known, and at once: its first request after that can come
// before it has noted that it runs again.
func TestWhenTheProcessStoodStill(t *testing.T) {
	m := New(time.Now)
	second := func(n int64) int64 { return n * 1000 }
	at := func(n int64) token.Outages { m.runs(second(n)); return m.Outages(token.GrantID{}) }
	if o := m.Outages(token.GrantID{}); o.Until != 0 || o.Since != 0 || len(o.Away) > 0 {
		t.Errorf("before anything is noted: %+v", o)
	}
	for n := int64(10); n <= 20; n++ {
		if o := at(n); len(o.Away) > 0 || o.Until != second(n) {
			t.Errorf("while it runs, at %d: %+v", n, o)
		}
	}
	if o := at(23); len(o.Away) > 0 { // as long as a beat may be late
		t.Errorf("after 3 s: %+v", o)
	}
	want := []token.Away{{From: second(23), To: second(90)}}
	if o := at(90); !slices.Equal(o.Away, want) || o.Until != second(90) {
		t.Errorf("after 67 s: %+v", o)
	}
	at(91)
	if o := at(80); !slices.Equal(o.Away, want) || o.Until != second(80) { // its clock steps back
		t.Errorf("after a step back: %+v", o)
	}
	for n := int64(1); n <= 100; n++ {
		at(100 + 10*n)
	}
	if o := m.Outages(token.GrantID{}); len(o.Away) != maxStill || o.Away[maxStill-1] != (token.Away{From: second(1090), To: second(1100)}) {
		t.Errorf("after a hundred: %d, %+v", len(o.Away), o.Away[len(o.Away)-1])
	}
}

func TestMonitorNotesThatItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, clock := New(time.Now), token.NewClock(time.Now)
		go m.Monitor(t.Context(), clock)
		time.Sleep(10 * time.Second)
		if o := m.Outages(token.GrantID{}); o.Until != 0 {
			t.Errorf("without a clock: %+v", o)
		}
		if err := clock.Measure(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		time.Sleep(firstBeat)
		for range 100 {
			time.Sleep(beat)
			synctest.Wait()
			if o := m.Outages(token.GrantID{}); time.Now().UnixMilli()-o.Until > beat.Milliseconds() || len(o.Away) > 0 {
				t.Fatalf("at %v: %+v", time.Now(), o)
			}
		}
	})
}
