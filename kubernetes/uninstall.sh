#!/bin/sh
# Removes Holdfast and leaves every workload awake. In this order, because each step is safe only after the one before:
#
#   1. Each workload at zero is scaled to its target's replicas.wake, and the target deleted. Now nobody puts it to sleep.
#   2. It waits until they are ready. With the control plane there, what gateways hold is answered.
#   3. The filter goes from the gateways, which go on routing.
#   4. The control plane goes, with the CRD and its namespace.
#
# It may be stopped and run again at any point. There are no finalizers.
#
#   kubernetes/uninstall.sh          TIMEOUT=300s: how long to wait for each workload
set -eu

timeout=${TIMEOUT:-300s}
list=$(mktemp)
trap 'rm -f "$list"' EXIT

# A line for each target: its namespace and name; apiVersion, kind and name of its workload; replicas.wake.
fields='{.metadata.namespace};{.metadata.name};{.spec.workload.apiVersion};{.spec.workload.kind};{.spec.workload.name};{.spec.replicas.wake}'
if kubectl get customresourcedefinition scaletargets.holdfast.dev >/dev/null 2>&1; then
  kubectl get scaletargets.holdfast.dev --all-namespaces --output "jsonpath={range .items[*]}$fields{\"\\n\"}{end}" >"$list"
fi

# The type as kubectl takes it: KIND.VERSION.GROUP, or KIND alone in the core group.
type_of() {
  case $1 in
    */*) echo "$2.${1#*/}.${1%/*}" ;;
    *) echo "$2" ;;
  esac
}

# Only from zero: what somebody has set stays.
wake() {
  kubectl --namespace "$1" get "$2" "$3" >/dev/null 2>&1 || { echo "$1: $2 $3 is not there"; return 0; }
  if [ "$(kubectl --namespace "$1" get "$2" "$3" --output 'jsonpath={.spec.replicas}')" = 0 ]; then
    kubectl --namespace "$1" scale "$2" "$3" --current-replicas=0 --replicas="${4:-1}" || true
  fi
}

while IFS=';' read -r namespace target version kind name replicas; do
  wake "$namespace" "$(type_of "$version" "$kind")" "$name" "$replicas" </dev/null
  kubectl --namespace "$namespace" delete scaletarget "$target" --ignore-not-found </dev/null
done <"$list"

while IFS=';' read -r namespace target version kind name replicas; do
  # Once more: a drain may have ended just before its target was deleted.
  wake "$namespace" "$(type_of "$version" "$kind")" "$name" "$replicas" </dev/null
  case $kind in
    Deployment | StatefulSet)
      kubectl --namespace "$namespace" rollout status "$kind/$name" --timeout="$timeout" </dev/null ||
        echo "$namespace: $kind $name is not ready; going on" >&2
      ;;
  esac
done <"$list"

for type in wasmplugins.extensions.istio.io envoyfilters.networking.istio.io \
  envoypatchpolicies.gateway.envoyproxy.io envoyextensionpolicies.gateway.envoyproxy.io; do
  if kubectl get customresourcedefinition "$type" >/dev/null 2>&1; then
    kubectl delete "$type" --all-namespaces --selector app.kubernetes.io/name=holdfast
  fi
done

kubectl --namespace holdfast-system delete deployment holdfast-control-plane --ignore-not-found
kubectl delete namespace holdfast-system --ignore-not-found
kubectl delete clusterrole,clusterrolebinding --selector app.kubernetes.io/name=holdfast
kubectl delete customresourcedefinition scaletargets.holdfast.dev --ignore-not-found

echo "What is left, if you have it: the gateways, with their Secrets holdfast-token, which their Pods need to start;"
echo "the plain Envoy (kubectl delete -k kubernetes/overlays/envoy); the demo (kubectl delete namespace holdfast-demo)."
