// Package compose owns the proof that docker-compose.yml and deploy/Dockerfile work as
// they are, on a real Docker engine, and under the compose that people have: a current
// one, and 1.29. Tests only; make test-compose runs them, under the build tag compose.
//
// Where an image is not there and can't be had, a stand-in is put together from the
// system's packages (redis-server, nginx, prometheus, busybox, curl) and the Go
// toolchain with its module cache, under the same name, and removed at the end. It has
// the programs in the places, and for the users, of the real image, but none of its
// scripts. With COMPOSE_TEST_PULL=1 missing images are pulled;
// with COMPOSE_TEST_KEEP=1 stand-ins stay, which saves a minute of the next run.
package compose
