#!/bin/sh
# Restarts the replicas behind the proxy one after the other, each only once the others serve.
#   COMPOSE="docker compose --profile proxy" sh docker/proxy/rolling_restart.sh
set -eu

compose=${COMPOSE:-docker compose --profile proxy}
for replica in geminifusion geminifusion-2; do
  $compose restart --timeout 30 "$replica"
  tries=0
  until $compose exec -T "$replica" geminifusion healthcheck >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 120 ]; then
      echo "$replica is not ready after $tries tries; the other replica serves. Read its log, then run this again." >&2
      exit 1
    fi
    sleep 1
  done
  sleep 5 # until the proxy has found its address, which may be another one, and seen it ready
done
