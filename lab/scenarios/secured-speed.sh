#!/bin/bash
# What TLS costs over SCTP: questions a second, and associations from the first packet to the first answer.
#: alone, seconds=120
LAB_CAPTURE=no
. "$LAB/lib.sh"

node r 11; node e 21; node u 31
PKI=$LAB_OUT/pki
pki() { "$RSERPOOL" pki "$@" --dir "$PKI" >>"$LAB_OUT/pki.txt" 2>&1; }
pki init --scope lab
pki issue registrar --host 10.0.0.11
pki issue element --pool Pool
pki issue user
cat >"$LAB_OUT/registrar.toml" <<CONFIG
asap = ["sctp://10.0.0.11:3864"]
enrp = []
plain = ["sctp://10.0.0.11:3863"]
[tls]
certificate = "$PKI/registrar.pem"
readers = "everybody"
CONFIG
start registrar r "$RSERPOOL" registrar --config "$LAB_OUT/registrar.toml"
need within 5 "the registrar is ready" told registrar 'registrar started'
lab stay e load Pool --secured-at 10.0.0.11:3864 --tls-cert "$PKI/element.pem" register --elements 100 --stay
need within 10 "a pool of 100" told stay '^[0-9]+$'

# row NAME LOAD..: loads both ways in by turns.
row() {
  local name=$1; shift
  read -r plain secured < <(on u "$LAB_TOOL" load Pool --at 10.0.0.11:3863 --secured-at 10.0.0.11:3864 \
    --tls-cert "$PKI/user.pem" "$@" 2>>"$LAB_OUT/load.txt")
  figure secured "$name" "by TLS" "${secured:-0}"
  figure secured "$name" "without" "${plain:-0}"
  figure secured "$name" share "$(awk -v a="${secured:-0}" -v b="${plain:-1}" 'BEGIN { printf "%.2f", a / b }')"
  is "$name: both have answered" yes "$( ((${secured:-0} > 0 && ${plain:-0} > 0)) && echo yes)"
}
for items in 1 10; do
  row "resolve $items of 100, ping-pong" --moments 20 --under-way 1 resolve --items $items
  at_least "resolve $items of 100, ping-pong: share of that without TLS" $((7000 / (100 + ${LAB_MARGIN:-0}))) \
    $((100 * ${secured:-0} / ${plain:-1})) %
done
row "resolve 1 of 100, pipelined" --moments 20 --under-way 32 resolve --items 1
# Without TLS there is no handshake but SCTP's own.
row "associations, full handshakes" --moments 6 greet
