#!/usr/bin/env bash
# Runs all tests, after installing what they need and the machine lacks (make here, the
# rest in the Makefile), as root or with sudo. Arguments are passed to make.
set -euo pipefail
cd "$(dirname "$0")"
command -v make >/dev/null || {
	sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -q
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends make
}
exec make "${@:-test}"
