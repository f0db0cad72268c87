#!/bin/bash
# Our registrar, elements and users among themselves, over SCTP.
. "$LAB/lib.sh"

node r 11; node s1 21; node s2 22; node s3 23; node p 31; node u 32

say "three elements, the last of them over TCP"
our_registrar registrar r
for n in 1 2 3; do lab server$n s$n echo --tcp 0.0.0.0:7; done
for n in 1 2; do our_element element$n s$n r Lines --tcp 10.0.0.2$n:7 --id 0x2$n --drain 0s; done
start element3 s3 "$RSERPOOL" element Lines --registrar tcp://10.0.0.11:3863 --tcp 10.0.0.23:7 --id 0x23 --drain 0s
need within 5 "all three are listed" list_is r Lines 0x21,0x22,0x23
is "rserpool resolve over SCTP and TCP alike" "3 3" \
  "$(for by in sctp tcp; do on u "$RSERPOOL" resolve Lines --registrar $by://10.0.0.11:3863 --json | jq '.elements | length'; done | paste -sd' ')"
is "and with auto" 3 "$(on u "$RSERPOOL" resolve Lines --registrar auto://10.0.0.11:3863 --json | jq '.elements | length')"

say "the proxy, and a client"
start proxy p "$RSERPOOL" proxy Lines --registrar sctp://10.0.0.11:3863 --listen 0.0.0.0:8000
need within 5 "the proxy serves" told proxy serving
lab client u talk 10.0.0.31:8000 --every 20 --patience 5000
within 5 "a client is answered" told client ' ok$' 20
crash server1
within 3 "a killed server is not listed" list_is r Lines 0x22,0x23
lab server1 s1 echo --tcp 0.0.0.0:7
within 5 "and is when it runs again" list_is r Lines 0x21,0x22,0x23
crash element2
within 2 "a killed element is not listed" list_is r Lines 0x21,0x23
our_element element2 s2 r Lines --tcp 10.0.0.22:7 --id 0x22 --drain 0s
within 5 "and is when it runs again" list_is r Lines 0x21,0x22,0x23

say "the registrar hangs, and goes on"
send STOP registrar; pause 5; send CONT registrar
within 5 "all are listed" list_is r Lines 0x21,0x22,0x23
throughout 3 "and stay" list_is r Lines 0x21,0x22,0x23

say "the registrar is killed and started again"
crash registrar
pause 1
our_registrar registrar r
within 5 "all come back" list_is r Lines 0x21,0x22,0x23
stop client
at_least "lines echoed" 200 "$(tally client answered)"
at_most "lines lost in all of this, under way with the server that was killed" 1 "$(tally client failed)"
for n in 1 2 3; do stop element$n; done
within 2 "the pool is gone" list_is r Lines ""
