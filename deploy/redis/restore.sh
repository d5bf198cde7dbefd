#!/bin/sh
# Replaces all data of a Redis with a backup, an RDB file on standard input, while the
# Redis is not running:
#
#   docker compose run --rm -T --no-deps --entrypoint "sh /etc/redis/restore.sh" redis < redis.rdb
set -eu
umask 077
new=/data/appendonlydir.new
rm -rf "$new"
mkdir "$new"
base=appendonly.aof.1.base.rdb
cat > "$new/$base"
redis-check-rdb "$new/$base" > "$new/check" || { cat "$new/check" >&2; exit 1; }
rm "$new/check"
echo "file $base seq 1 type b" > "$new/appendonly.aof.manifest"
rm -rf /data/appendonlydir
mv "$new" /data/appendonlydir
