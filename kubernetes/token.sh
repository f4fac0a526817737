#!/bin/sh
# Makes the token that proxies show to the control plane, as Secret `holdfast-token`, and copies it to where gateways run:
# namespaces with the label holdfast.dev/gateways=true, and those named as arguments. A token that is there is kept.
#
#   kubernetes/token.sh [NAMESPACE]...
#
# For a new token: kubectl --namespace holdfast-system delete secret holdfast-token, run this, restart control plane and gateways.
set -eu

home=holdfast-system
secret=holdfast-token

if ! kubectl --namespace "$home" get secret "$secret" >/dev/null 2>&1; then
  # By standard input: an argument would show in the process list.
  head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' |
    kubectl --namespace "$home" create secret generic "$secret" --from-file=token=/dev/stdin
fi
encoded=$(kubectl --namespace "$home" get secret "$secret" --output 'jsonpath={.data.token}')

for namespace in $(kubectl get namespaces --selector holdfast.dev/gateways=true --output 'jsonpath={.items[*].metadata.name}') "$@"; do
  kubectl apply --filename - <<MANIFEST
apiVersion: v1
kind: Secret
metadata: {name: $secret, namespace: $namespace}
data: {token: $encoded}
MANIFEST
done
