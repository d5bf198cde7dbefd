#!/bin/sh
# Starts a Sentinel. It keeps what it learns in /data/sentinel.conf, which it rewrites
# itself; the password is read again at each start.
set -eu
umask 077
conf=/data/sentinel.conf
password=$(cat /etc/authsvc-redis/password)
if [ -s "$conf" ]; then
    known=$(grep -vE '^(requirepass|user|sentinel sentinel-pass|sentinel auth-pass) ' "$conf")
else
    known="port 26379
bind * -::*
dir /data
sentinel monitor authsvc $REDIS_PRIMARY 6379 2
sentinel down-after-milliseconds authsvc 5000
sentinel failover-timeout authsvc 30000
sentinel parallel-syncs authsvc 1"
fi
printf '%s\n' "$known" "requirepass $password" "sentinel sentinel-pass $password" \
    "sentinel auth-pass authsvc $password" > "$conf.new"
mv "$conf.new" "$conf"
exec redis-sentinel "$conf"
