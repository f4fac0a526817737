#!/bin/sh
# Makes, in a folder, an authority and what it signs: a certificate of the control plane and one of its proxies. For trying out:
# the authority's key stays beside them, without a password.
#
#   local-envoy/tls/certificates.sh target/tls
#
# Then, for the control plane: --tls-cert target/tls/control-plane.pem --tls-key target/tls/control-plane.key
# --tls-client-ca target/tls/ca.pem; for Envoy: local-envoy/tls/cluster.yaml.
set -eu
umask 077

mkdir -p "$1"
cd "$1"

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2>/dev/null; }

key ca
openssl req -x509 -new -key ca.key -sha256 -days 365 -subj "/CN=holdfast" -out ca.pem \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"

# sign NAME USE SAN
sign() {
  key "$1"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$2" "$3" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -sha256 -days 365 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
  rm "$1.csr" "$1.ext"
}

sign control-plane serverAuth "DNS:holdfast-control-plane,DNS:localhost,IP:127.0.0.1"
sign proxy clientAuth "DNS:holdfast-proxy"
