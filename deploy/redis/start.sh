#!/bin/sh
# Starts Redis. /data/role.conf says whose replica it is; Sentinels change that file, so
# it is still right after a restart. At the very first start, REDIS_REPLICA_OF says it.
# Everything else is read from the mounted configuration at each start.
set -eu
umask 077
role=/data/role.conf
if [ -e "$role" ]; then
    now=$(grep '^replicaof ' "$role" || true)
else
    now=${REDIS_REPLICA_OF:+replicaof $REDIS_REPLICA_OF 6379}
fi
printf '%s\n' "$now" > "$role.new"
mv "$role.new" "$role"
set -- "$role" --include /etc/redis/redis.conf --include /etc/authsvc-redis/auth.conf
if [ -n "${REDIS_HA:-}" ]; then
    set -- "$@" --include /etc/redis/ha.conf
fi
exec redis-server "$@"
