#!/bin/sh
# Sends one request to the demo's `web` and says how it went: status, seconds, how long it was held, first line of the answer.
#
# Fails if the answer is not 2xx.
#
#   kubernetes/demo/call.sh [PATH]        ADDRESS=HOST:PORT if you reach the gateway without `kubectl port-forward`
set -eu

path=${1:-/hello}
host=${HOST:-web.example.com}
out=$(mktemp -d)
forward=
trap 'if [ -n "$forward" ]; then kill "$forward" 2>/dev/null || true; fi; rm -rf "$out"' EXIT

if [ -z "${ADDRESS:-}" ]; then
  found=$("$(dirname "$0")/gateway.sh")
  kubectl --namespace "${found% *}" port-forward "service/${found#* }" :80 >"$out/forward" 2>&1 &
  forward=$!
  until ADDRESS=$(sed -n 's/^Forwarding from \(127[^ ]*\).*/\1/p' "$out/forward") && [ -n "$ADDRESS" ]; do
    kill -0 "$forward" 2>/dev/null || { cat "$out/forward" >&2; exit 1; }
    sleep 0.1
  done
fi

took=$(curl --silent --show-error --max-time 90 --header "Host: $host" --dump-header "$out/head" --output "$out/body" \
  --write-out '%{http_code} in %{time_total} s' "http://$ADDRESS$path")
held=$(tr -d '\r' <"$out/head" | sed -n 's/^server-timing: hold;dur=\(.*\)$/held \1 ms/p')
echo "$took, ${held:-not held}: $(head -n 1 "$out/body")"
case $took in
  2*) ;;
  *)
    echo 'kubernetes/README.md, "When it does not work", says where to look' >&2
    exit 1
    ;;
esac
