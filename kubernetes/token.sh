#!/bin/sh
# Makes the tokens that the control plane takes, as Secret `holdfast-token`: `token` for proxies, `operator-token` for people. The
# first it copies to where gateways run: namespaces with the label holdfast.dev/gateways=true, and those named as arguments. What is
# there is kept.
#
#   kubernetes/token.sh [NAMESPACE]...
#
# For a new token: put it below the old one, on a second line of `token` in holdfast-system, where both are good within a minute or two;
# run this, which copies the last line; restart the gateways; take the old line away.
set -eu

home=holdfast-system
secret=holdfast-token

random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
encode() { base64 | tr -d '\n'; }
stored() { kubectl --namespace "$home" get secret "$secret" --output "jsonpath={.data.$1}"; }
# By standard input: an argument would show in the process list.
of_home() {
  cat <<MANIFEST
apiVersion: v1
kind: Secret
metadata: {name: $secret, namespace: $home}
data: {token: $1, operator-token: $(random | encode)}
MANIFEST
}

if ! kubectl --namespace "$home" get secret "$secret" >/dev/null 2>&1; then
  of_home "$(random | encode)" | kubectl create --filename -
elif [ -z "$(stored operator-token)" ]; then
  # From a version that had one token.
  of_home "$(stored token)" | kubectl replace --filename -
fi
encoded=$(stored token | base64 -d | tail -n 1 | tr -d '\n' | encode)

for namespace in $(kubectl get namespaces --selector holdfast.dev/gateways=true --output 'jsonpath={.items[*].metadata.name}') "$@"; do
  kubectl apply --filename - <<MANIFEST
apiVersion: v1
kind: Secret
metadata: {name: $secret, namespace: $namespace}
data: {token: $encoded}
MANIFEST
done
