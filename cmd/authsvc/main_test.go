package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"authsvc": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// patient is for tests that are not about a slow store: on a busy machine a process
// can wait for its turn for longer than a request waits for the store.
var patient = []string{"--store-timeout", "5s"}
