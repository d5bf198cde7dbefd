#!/bin/sh
# redis-cli with the password: docker compose exec redis sh /etc/redis/cli.sh info memory
REDISCLI_AUTH=$(cat /etc/authsvc-redis/password)
export REDISCLI_AUTH
exec redis-cli -e "$@"
