#!/bin/sh
# Starts Redis. Whose replica it is stands in /data/role.conf, where Sentinels change it,
# so that it is still true after a restart; at the very first start it is REDIS_REPLICA_OF.
# All else is read from here at each start.
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
