#!/bin/sh
# Writes all that this Redis has to standard output, as an RDB file:
#
#   docker compose exec -T redis sh /etc/redis/backup.sh > redis.rdb
set -eu
umask 077
file=/data/backup.rdb
trap 'rm -f "$file"' EXIT
sh /etc/redis/cli.sh --rdb "$file" > /dev/null # not to standard output, where redis-cli leaves a mark at the end
redis-check-rdb "$file" > /dev/null
cat "$file"
