#!/bin/sh
# Builds the three images with docker or podman, from the repository's root. Tag and names are those of the manifests.
#
#   kubernetes/image/build.sh             then push them, or for kind: kind load docker-image IMAGE...
#   ENGINE=podman kubernetes/image/build.sh
set -eu

engine=${ENGINE:-docker}
registry=ghcr.io/holdfast-dev
tag=0.1.0

cd "$(dirname "$0")/../.."
cargo xtask dist
"$engine" build --file kubernetes/image/wasm.Containerfile --tag "$registry/holdfast-wasm:$tag" target/dist
for image in control-plane upstream; do
  "$engine" build --file kubernetes/image/Containerfile --target "$image" --tag "$registry/$image:$tag" .
done
