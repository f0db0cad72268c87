#!/bin/bash
# Questions and registrations a second, ours beside the reference implementation's, in one boot.
#: alone, seconds=240
LAB_CAPTURE=no
. "$LAB/lib.sh"

node r1 11; node r2 12; node e 21; node u 31
our_registrar ours r1
# Without its log, which would cost it more than half.
RSP_LOG=-logquiet
start theirs r2 rspregistrar $RSP_LOG -asap=10.0.0.12:3863 -enrp=10.0.0.12:9901
for r in r1 r2; do
  lab "stay-$r" e load Pool --at "${HOST[$r]}:3863" --under-way 8 register --elements 100 --stay
  need within 10 "a pool of 100 at $r" told "stay-$r" '^[0-9]+$'
done

# row NAME LOAD..: loads both by turns. Ours is to be no slower.
row() {
  local name=$1 ours theirs; shift
  read -r ours theirs < <(on u "$LAB_TOOL" load "$1" --at "${HOST[r1]}:3863" --at "${HOST[r2]}:3863" \
    --moments 20 "${@:2}" 2>>"$LAB_OUT/load.txt")
  figure resolve "$name" ours "${ours:-0}"
  figure resolve "$name" reference "${theirs:-0}"
  figure resolve "$name" ratio "$(awk -v a="${ours:-0}" -v b="${theirs:-1}" 'BEGIN { printf "%.2f", a / b }')"
  is "$name: both have answered" yes "$( ((${ours:-0} > 0 && ${theirs:-0} > 0)) && echo yes)"
  at_least "$name: ours a second" $((${theirs:-0} * 100 / (100 + ${LAB_MARGIN:-0}))) "$ours"
}
for mode in ping-pong pipelined; do
  n=1; [[ $mode == pipelined ]] && n=32
  for items in 1 10; do
    row "resolve $items of 100, $mode" Pool --under-way $n resolve --items $items
  done
  row "register, $mode" "New $mode" --under-way $n register --elements 400
  row "re-register, $mode" "Again $mode" --under-way $n register --elements 20 --rounds 20
done
