// Package compose owns the proof that docker-compose.yml and deploy/Dockerfile work as
// they are, on a real Docker engine, with the versions of compose in use: a current
// one, and 1.29. Tests only; make test-compose runs them, with the build tag compose.
//
// If an image is missing and can't be pulled, a stand-in is built from the system's
// packages (redis-server, nginx, prometheus, busybox, curl) and the Go toolchain with
// its module cache, under the same name, and removed at the end. It has the programs in
// the same places and for the same users as the real image, but none of its scripts.
// With COMPOSE_TEST_PULL=1, missing images are pulled; with COMPOSE_TEST_KEEP=1,
// stand-ins are kept, which saves a minute of the next run.
package compose
