package main

// patient is for tests that are not about a slow store: on a busy machine a process
// can wait for its turn for longer than a request waits for the store.
var patient = []string{"--store-timeout", "5s"}
