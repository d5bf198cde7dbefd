package token

import (
	"context"
	"testing"
)

func BenchmarkMint(b *testing.B) {
	c, key := someClaims(Access), someRing().Key(7)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mint(&c, key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	tok, ring := someToken(Access), someRing()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(context.Background(), tok, Access, only{ring}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseForged(b *testing.B) {
	tok, ring := someToken(Refresh)[:TokenLen-1]+"A", someRing()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(context.Background(), tok, Refresh, only{ring}); err == nil {
			b.Fatal("taken for good")
		}
	}
}

func BenchmarkParseParallel(b *testing.B) {
	tok, ring := someToken(Access), someRing()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := parse(context.Background(), tok, Access, only{ring}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkRecordEncode(b *testing.B) {
	g := namedGrants()["rotated"]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.encode(GrantID{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordDecode(b *testing.B) {
	g := namedGrants()["rotated"]
	r := recordOf(&g, GrantID{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeGrant(GrantID{}, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecideRefresh(b *testing.B) {
	for name, serial := range map[string]uint32{"rotate": 5, "repeat": 4, "replay": 1} {
		b.Run(name, func(b *testing.B) {
			c := aRefreshCase(serial)
			b.ReportAllocs()
			for b.Loop() {
				decideRefresh(c)
			}
		})
	}
}

func BenchmarkInspect(b *testing.B) {
	w := newWorld(b)
	p := w.issue(keyA)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.m.Inspect(b.Context(), p.access); err != nil {
			b.Fatal(err)
		}
		w.store.calls = w.store.calls[:0]
	}
}

func BenchmarkIssue(b *testing.B) {
	w := newWorld(b)
	who := w.as(keyA)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.m.Issue(b.Context(), who, "", ""); err != nil {
			b.Fatal(err)
		}
		w.store.calls, w.events = w.store.calls[:0], w.events[:0]
		clear(w.store.records)
		clear(w.store.first)
	}
}

func BenchmarkRefresh(b *testing.B) {
	w := newWorld(b)
	who, rt := w.as(keyA), w.issue(keyA).refresh
	b.ReportAllocs()
	for b.Loop() {
		tok, _, err := w.m.Refresh(b.Context(), who, rt, "", "")
		if err != nil {
			b.Fatal(err)
		}
		rt = tok.Refresh
		w.store.calls, w.events = w.store.calls[:0], w.events[:0]
	}
}
