#!/bin/sh
# The demo: one call, then `web` falls asleep, then a call that wakes it, then one that finds it awake.
set -eu

here=$(dirname "$0")
"$here/call.sh"
"$here/watch.sh" web
"$here/call.sh"
"$here/call.sh"
kubectl --namespace holdfast-demo get events --field-selector involvedObject.kind=ScaleTarget --sort-by .metadata.creationTimestamp
