#!/bin/bash
# Two registrars of ours, of which one falls silent: its hundred elements have a new home soon.
#: alone
. "$LAB/lib.sh"

node r1 11; node r2 12; node s1 21; node s2 22

our_registrar registrar1 r1 --enrp sctp://10.0.0.11:9901 --id 0x11 --peer sctp://10.0.0.12:9901
pools=(); for n in {1..50}; do pools+=("P$n"); done
# All at home with the first: the second is not there yet.
for n in 1 2; do
  lab elements$n s$n element --registrar sctp://10.0.0.11:3863 --registrar sctp://10.0.0.12:3863 \
    --sctp "10.0.0.2$n:7" --id $((32 + n)) "${pools[@]}"
  within 10 "elements of host $n have joined" told elements$n registered 50
done
our_registrar registrar2 r2 --enrp sctp://10.0.0.12:9901 --id 0x12 --peer sctp://10.0.0.11:9901
# homed REGISTRAR: how many elements the second one knows that have their home there.
homed() { list r2 | jq --arg home "$1" '[.[].elements[] | select(.home | test($home + "$"))] | length'; }
homed_is() { [[ $(homed "$1") == "$2" ]]; }
need within 5 "the second has all of them, at home with the first" homed_is 11 100

say "the first falls silent"
lab user observer ask 10.0.0.12:3863 P1 --every 10
since=$(now)
cut r1
# Asking for the homes takes a quarter of a second here, while both hosts send again what the first does not hear:
# the second says in its log when they have all been its own.
until told registrar2 'was taken over' || (($(since "$since") > 20000)); do pause 0.02; done
took=$((($(said registrar2 'was taken over') - since) / 1000))
figure takeover "silent, of two" "ours: all elements have a new home, ms" "$took"
at_most "all elements have a new home" "$(tolerated 1100)" "$took" ms
within 0.5 "and are listed there" homed_is 12 100
throughout 3 "and stay in the pool" homed_is 12 100
is "elements that were out of it for a moment" 0 "$(times registrar2 'element removed')"
stop user
is "questions without an answer" 0 "$(tally user failed)"
mend r1
within 10 "the first comes back, and the homes are where they are" homed_is 12 100
