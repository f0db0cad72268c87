#!/bin/bash
# Registrars that are none: one never answers, one refuses for ever, one forges, damages and replays.
# Service goes on, nobody who lives is lost, and memory stays as it is.
#: seconds=180
. "$LAB/lib.sh"

node r1 11; node r2 12; node r3 13; node s1 21; node s2 22; node x 66
distrust x

# registrar NUMBER PEER..: by the numbers of their hosts.
registrar() {
  local number=$1 peer peers=(); shift
  for peer in "$@"; do peers+=(--peer "sctp://10.0.0.$peer:9901"); done
  our_registrar "registrar$number" "r$number" --enrp "sctp://10.0.0.1$number:9901" --id "0x1$number" "${peers[@]}"
}
false_registrar() { lab "$1" x peer --local "10.0.0.66:9901" --that "$1" "${@:2}"; }
count() { list "r$1" | jq '[.[].elements[]] | length'; }
has() { [[ $(count "$1") == "$2" ]]; }
has_ours() { [[ $(list "r$1" | jq '[.[] | select(.pool != "EchoPool") | .elements[]] | length') == 100 ]]; }
homes() { list "r$1" | jq -r '.[] | .pool as $pool | .elements[] | "\($pool) \(.id) \(.home)"' | sort; }
homes_agree() { local all; all=$(homes 1); [[ $all != *0x00000066* && $all == "$(homes 2)" ]]; }
# The longest time in which a user has had no answer: outage USER.
outage() {
  awk '!/^#/ && $3 ~ /^[0-9]/ { if (last && $1 - last > worst) worst = $1 - last; last = $1 }
    END { printf "%d", worst / 1000 }' "$LAB_OUT/$1.log"
}
asked() { sed -n "s/^# .*\b$2=\([0-9]*\).*/\1/p" "$LAB_OUT/$1.log"; }

say "two registrars of ours, a hundred elements at home with the first, a server of the reference implementation"
registrar 1 12
pools=(); for n in {1..50}; do pools+=("P$n"); done
for n in 1 2; do
  lab elements$n s$n element --registrar sctp://10.0.0.11:3863 --sctp "10.0.0.2$n:7" --id $((32 + n)) "${pools[@]}"
done
rsp_server server s1 r1 -echo -identifier=0x29
need within 20 "they have joined" has 1 101
registrar 2 11
need within 5 "the second has all of them" has 2 101
for n in 1 2; do lab user$n observer ask 10.0.0.1$n:3863 P1 --every 20; done
declare -A before=([1]=$(rss registrar1) [2]=$(rss registrar2))

for that in ignores refuses; do
  say "one that $that what it is asked: for 10 s among them, and when one of ours begins"
  false_registrar $that 10.0.0.11:9901 10.0.0.12:9901
  # Only the false one is known to it.
  registrar 3 66
  within 5 "one that knows only that one serves" told registrar3 'in service'
  pause 10
  stop registrar3; stop $that
  at_least "tables that it was asked for" 1 "$(asked $that tables)"
  # By two registrars, with each heartbeat of 250 ms at most, and by the third.
  at_most "and not without end" 160 "$(asked $that tables)"
  is "elements at both" "101 101" "$(count 1) $(count 2)"
done

# Without security whoever speaks ENRP is believed to be a registrar, and may say that it has the elements of others:
# their home keeps them, and others hear so from it at once or with the next audit.
say "one that forges, for 10 s"
false_registrar forges 10.0.0.11:9901 10.0.0.12:9901
pause 10
stop forges
at_least "forgeries sent" 500 "$(asked forges forged)"
for n in 1 2; do within 5 "registrar $n has all elements of ours" has_ours $n; done
for n in 1 2; do within 5 "registrar $n has the server of the reference implementation" has $n 101; done
# What it had said to be its own one of the two has taken over.
within 10 "all at home with one of the two, and they agree with which" homes_agree
throughout 3 "and they stay" has 2 101
for n in 1 2; do
  stop user$n
  at_most "longest time without an answer of registrar $n" "$(tolerated 1000)" "$(outage user$n)" ms
  at_most "worst answer of registrar $n" "$(tolerated 1000)" "$(tally user$n worst_ms)" ms
  at_most "growth of the memory of registrar $n" 2048 $(($(rss registrar$n) - before[$n])) KiB
done
is "registrars that are left" "0x11,0x12" "$(on r1 "$RSERPOOL" registrars --json | jq -r '.[].server' | sed 's/0x0*/0x/' | sort | paste -sd,)"
