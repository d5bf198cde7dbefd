#!/bin/sh
# Starts a Sentinel. What it knows is in /data/sentinel.conf, which it rewrites itself.
set -eu
umask 077
conf=/data/sentinel.conf
if [ ! -e "$conf" ]; then
    password=$(cat /etc/authsvc-redis/password)
    cat > "$conf.new" <<END
port 26379
bind * -::*
dir /data
requirepass $password
sentinel sentinel-pass $password
sentinel monitor authsvc $REDIS_PRIMARY 6379 2
sentinel auth-pass authsvc $password
sentinel down-after-milliseconds authsvc 5000
sentinel failover-timeout authsvc 30000
sentinel parallel-syncs authsvc 1
END
    mv "$conf.new" "$conf"
fi
exec redis-sentinel "$conf"
