package redis

import (
	"os"
	"slices"
	"testing"

	"authsvc/internal/token"
)

// A release reads what the ones before it wrote: here, the outages of a shard.
func TestOutagesOf010(t *testing.T) {
	b, err := os.ReadFile("../../../testdata/0.1.0/outages.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := []token.Away{{From: 1795608000000, To: 1795608061234}, {From: 1795609000001, To: 1795609000002}}
	if got, ok := parseList(string(b)); !ok || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, ok, want)
	}
}
