#!/bin/bash
# Three registrars of ours join, are killed, hang, are cut apart, and leave one after the other.
# Nothing that lives is lost, and nothing that has gone comes back.
#: seconds=240
. "$LAB/lib.sh"

node r1 11; node r2 12; node r3 13; node s1 21; node s2 22

# Each knows the other two: registrar NUMBER.
registrar() {
  local number=$1 other peers=()
  for other in 1 2 3; do [[ $other == "$number" ]] || peers+=(--peer "sctp://10.0.0.1$other:9901"); done
  our_registrar "registrar$number" "r$number" --enrp "sctp://10.0.0.1$number:9901" --id "0x1$number" "${peers[@]}"
}
# An element each of fifty pools: elements NUMBER.
elements() {
  local number=$1 name
  local pools=()
  for name in {1..50}; do pools+=("P$name"); done
  lab "elements$number" "s$number" element --registrar sctp://10.0.0.11:3863 --registrar sctp://10.0.0.12:3863 \
    --registrar sctp://10.0.0.13:3863 --sctp "10.0.0.2$number:7" --id $((32 + number)) "${pools[@]}"
}
# What a registrar has, without what says where.
handlespace() { list "r$1" | jq -c 'map({pool, ids: [.elements[].id] | sort}) | sort'; }
has() { [[ $(list "r$1" | jq '[.[].elements[]] | length') == "$2" ]]; }
homes() { list "r$1" | jq -r '.[].elements[].home' | sort -u | paste -sd,; }
homed_elsewhere() { [[ $(homes "$1") != *0x*1"$2"* ]]; }
equal() { local all; all=$(for n in "$@"; do handlespace "$n"; done | sort -u | wc -l); ((all == 1)); }
# The longest time in which a user has had no answer: outage USER.
outage() {
  awk '!/^#/ && $3 ~ /^[0-9]/ { if (last && $1 - last > worst) worst = $1 - last; last = $1 }
    END { printf "%d", worst / 1000 }' "$LAB_OUT/$1.log"
}
user() { lab "user$1" observer ask "10.0.0.1$1:3863" P1 --every 20; }
enough() { stop "user$1"; at_most "$2: longest time without an answer of registrar $1" 1000 "$(outage "user$1")" ms; }

say "the third before the first, elements in between"
registrar 3
elements 1
registrar 1
elements 2
registrar 2
for n in 1 2 3; do need within 10 "registrar $n has a hundred elements" has $n 100; done
within 15 "all handlespaces are equal" equal 1 2 3

say "one is killed"
user 2
crash registrar1
throughout 3 "nothing is lost at the second" has 2 100
within 5 "all have another home" homed_elsewhere 2 1
within 15 "the two are equal" equal 2 3
enough 2 "killed"
registrar 1
within 5 "it is back with all of them" has 1 100

say "one hangs for 20 s"
user 3
send STOP registrar2
throughout 20 "nothing is lost at the third" has 3 100
within 5 "none is at home there" homed_elsewhere 3 2
send CONT registrar2
throughout 3 "nor when it wakes" has 3 100
within 15 "and all three are equal again" equal 1 2 3
enough 3 "hung"

say "cut apart for 20 s, with one who leaves and one who comes"
cut r1
lab late s1 element --registrar sctp://10.0.0.12:3863 --sctp 10.0.0.21:8 --id 48 Late
within 5 "one comes" list_is r2 Late 0x30
stop elements2
within 5 "fifty leave" has 2 51
pause 12
mend r1
within 10 "who has come is known to the one that was cut off" list_is r1 Late 0x30
within 10 "who has left has left everywhere" has 1 51
within 15 "all three are equal" equal 1 2 3

say "a rolling restart"
user 1
for n in 2 3; do stop registrar$n; registrar $n; within 5 "registrar $n has all" has $n 51; done
enough 1 "rolling restart"
user 3
stop registrar1
throughout 2 "nothing is lost at the third" has 3 51
registrar 1
within 5 "registrar 1 has all" has 1 51
enough 3 "rolling restart"
