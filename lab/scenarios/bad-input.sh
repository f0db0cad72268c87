#!/bin/bash
# Messages that are wrong in every way, while users resolve.
. "$LAB/lib.sh"

node r 11; node s1 21; node s2 22; node u1 31; node u2 32; node x 66
distrust x

our_registrar registrar r
rsp_server server1 s1 r -echo -identifier=0x21
rsp_server server2 s2 r -pingpong -identifier=0x22
need within 5 "a server is listed" list_is r EchoPool 0x21
need within 5 "and another" list_is r PingPongPool 0x22

say "those whose errors the RFCs name, one by one"
on x "$LAB_TOOL" bad 10.0.0.11:3863 EchoPool --seconds 2 --seed 1 >"$LAB_OUT/bad1.txt"
while read -r _ name wanted found; do
  is "answer to $name" "${wanted#*=}" "${found#*=}"
done < <(grep '^case' "$LAB_OUT/bad1.txt")
before=$(rss registrar)

say "ten seconds of anything"
lab user1 u1 ask 10.0.0.11:3863 EchoPool --every 20
rsp_pingpong user2 u2 r
lab bad x bad 10.0.0.11:3863 EchoPool --seconds 10 --seed 2 --pause 200
sessions=0
while running bad; do
  # A user of the reference implementation from its beginning: it hunts, resolves, connects, gets its echo.
  rsp_terminal terminal u2 r EchoPool
  began=$(now)
  until told terminal 'line 1' || (($(since "$began") > 5000)); do pause 0.02; done
  if told terminal 'line 1'; then ((sessions++)); else found "its user is answered" "within 5 s" "no" 1; fi
  crash terminal
done
after=$(rss registrar)
at_least "sessions of its user from resolution to echo" 3 "$sessions"
at_least "wrong messages sent" 500 "$(sed -n 's/^sent=\([0-9]*\).*/\1/p' "$LAB_OUT/bad.log")"
say "$(tail -n 1 "$LAB_OUT/bad.log")"
stop user1
is "questions that failed" 0 "$(tally user1 failed)"
at_most "worst answer" 500 "$(tally user1 worst_ms)" ms
at_most "growth of the registrar's memory" 2048 $((after - before)) KiB
is "the servers are listed as before" "0x21 0x22" "$(listed r EchoPool) $(listed r PingPongPool)"
is "and nobody else" 2 "$(list r | jq '[.[] | select(.pool != "bad pool")] | length')"
