#!/bin/sh
# Writes all data of this Redis to standard output, as an RDB file:
#
#   docker compose exec -T redis sh /etc/redis/backup.sh > redis.rdb
set -eu
umask 077
file=/data/backup.rdb
if sh /etc/redis/cli.sh info replication | grep -q master_link_status:down; then
    echo "this Redis is a replica that has lost its primary: use another one" >&2
    exit 1
fi
trap 'rm -f "$file"' EXIT
sh /etc/redis/cli.sh --rdb "$file" > /dev/null # not to standard output, where redis-cli appends a mark
redis-check-rdb "$file" > /dev/null
cat "$file"
