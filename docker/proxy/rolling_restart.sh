#!/bin/sh
# Restarts the replicas behind the proxy one after the other, each only while the proxy says that both are ready.
#   COMPOSE="docker compose --profile proxy" sh docker/proxy/rolling_restart.sh
set -eu

compose=${COMPOSE:-docker compose --profile proxy}
ask='import urllib.request; urllib.request.urlopen("http://proxy:8404/all-ready", timeout=2)'

wait_for_both() {
  tries=0
  until $compose exec -T "$1" python3 -c "$ask" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 120 ]; then
      echo "a replica is not ready after $tries tries; the other one serves. Read their logs, then run this again." >&2
      exit 1
    fi
    sleep 1
  done
}

wait_for_both geminifusion
for replica in geminifusion geminifusion-2; do
  $compose restart --timeout 30 "$replica"
  wait_for_both "$replica"
done
