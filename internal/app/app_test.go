package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	got := Warnings([]App{
		{Key: "default-ttl"},
		{Key: "just-enough", RefreshTTL: time.Minute},
		{Key: "too-short", RefreshTTL: 59 * time.Second},
	}, time.Minute)
	want := []string{"app too-short: its refresh_ttl of 59s is shorter than the refresh grace of 1m0s, so the retry of a refresh can get tokens that have expired"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
