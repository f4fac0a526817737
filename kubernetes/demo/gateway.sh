#!/bin/sh
# Prints namespace and Service of the demo's gateway, whichever overlay it comes from.
set -eu

for service in holdfast-envoy holdfast-istio; do
  if kubectl --namespace holdfast-gateway get service "$service" >/dev/null 2>&1; then
    echo "holdfast-gateway $service"
    exit
  fi
done
found=$(kubectl get services --all-namespaces --selector gateway.envoyproxy.io/owning-gateway-name=holdfast \
  --output 'jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}')
if [ -z "$found" ]; then
  echo "no gateway: apply one of kubernetes/overlays/ first" >&2
  exit 1
fi
echo "$found" | head -n 1
