#!/usr/bin/env bash
# The manual backend: no process is started or stopped, you say what sleeps. Needs curl; for the gRPC part cargo.
#
# Terminal 1: target/release/control-plane serve --backend manual --targets local-envoy/targets.yaml --listen 127.0.0.1:7001
# Terminal 2: envoy --config-path local-envoy/envoy.yaml --concurrency 2 --disable-hot-restart
# Terminal 3: target/release/upstream
# Terminal 4: local-envoy/demo/manual.sh
#
# It puts a host to sleep, sends a request that waits, shows that it waits, and wakes the host. Ends with 0 if all
# went as told. CONTROL, ENVOY and GRPC_CLIENT change where things are.
set -euo pipefail

CONTROL=${CONTROL:-http://127.0.0.1:7001}
ENVOY=${ENVOY:-127.0.0.1:9000}
read -r -a GRPC_CLIENT <<<"${GRPC_CLIENT:-cargo run --quiet --release --package upstream --example grpc-echo --}"

out=$(mktemp -d)
trap 'rm -rf "$out"; kill $(jobs -p) 2>/dev/null || true' EXIT

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# status METHOD URL: the status code of the answer; the body goes to $out/body.
status() { curl --silent --output "$out/body" --write-out '%{http_code}' --request "$1" "$2"; }

# expect CODE METHOD PATH
expect() {
  local code; code=$(status "$2" "$CONTROL$3")
  [ "$code" = "$1" ] || fail "$2 $3: $code instead of $1: $(cat "$out/body")"
  printf '%-4s %-52s %s\n' "$2" "$3" "$code"
}

# until_held NAME: waits until the control plane knows of a request that is held for that target.
until_held() {
  for _ in $(seq 200); do
    if curl --silent "$CONTROL/v1/targets/default/$1" | grep --quiet '"held":[1-9]'; then return; fi
    sleep 0.05
  done
  fail "no request is held for $1: $(curl --silent "$CONTROL/v1/targets")"
}

# hold_and_wake HOST COMMAND...: runs COMMAND while HOST sleeps, and wakes HOST once it is held.
hold_and_wake() {
  local host=$1; shift
  # It toggles, and everything is at zero when the control plane starts: so up first, then down.
  expect 200 POST "/poke-scale-up?host=$host"
  expect 200 POST "/set-scaled-to-zero?host=$host"
  "$@" >"$out/answer" & local call=$!
  until_held "${host%%.*}"
  printf '     %s is held: GET / answers %s\n' "$host" "$(curl --silent "$CONTROL/")"
  kill -0 "$call" 2>/dev/null || fail "the request to $host did not wait"
  expect 200 POST "/poke-scale-up?host=$host"
  wait "$call" || fail "the request to $host was not answered"
  printf '     answered: %s\n' "$(tr -d '\n' <"$out/answer")"
}

# The hosts whose requests are held.
expect 200 GET /
expect 400 POST /poke-scale-up
expect 404 POST "/poke-scale-up?host=nobody.example.com"
expect 405 GET "/poke-scale-up?host=http.example.com"

hold_and_wake http.example.com curl --silent --fail --header "Host: http.example.com" "http://$ENVOY/hello"
hold_and_wake grpc.example.com "${GRPC_CLIENT[@]}" "$ENVOY" grpc.example.com hello
echo "ok"
