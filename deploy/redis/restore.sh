#!/bin/sh
# Puts a backup, an RDB file on standard input, in the place of all that a Redis has,
# while it does not run:
#
#   docker compose run --rm -T --no-deps --entrypoint "sh /etc/redis/restore.sh" redis < backup.rdb
set -eu
umask 077
cat > /data/restore.rdb
redis-check-rdb /data/restore.rdb > /data/restore.log || { cat /data/restore.log; exit 1; }
rm -rf /data/appendonlydir /data/role.conf
mkdir /data/appendonlydir.new
mv /data/restore.rdb /data/appendonlydir.new/appendonly.aof.1.base.rdb
echo 'file appendonly.aof.1.base.rdb seq 1 type b' > /data/appendonlydir.new/appendonly.aof.manifest
mv /data/appendonlydir.new /data/appendonlydir
rm /data/restore.log
