#!/bin/sh
# Says what state a target of the demo is in, at each change, and ends when it is asleep.
#
#   kubernetes/demo/watch.sh [web|echo]
set -eu

target=${1:-web}
last=
while :; do
  state=$(kubectl --namespace holdfast-demo get scaletarget "$target" --output 'jsonpath={.status.state}')
  replicas=$(kubectl --namespace holdfast-demo get deployment "$target" --output 'jsonpath={.spec.replicas}')
  if [ "$state $replicas" != "$last" ]; then
    echo "$(date +%T) $target: ${state:-not seen yet}, replicas $replicas"
    last="$state $replicas"
  fi
  if [ "$state" = Asleep ]; then exit; fi
  sleep 1
done
