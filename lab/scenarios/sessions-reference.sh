#!/bin/bash
# Sessions across implementations: users of either go from our elements to the reference implementation's
# and back, with the cookies of the other.
#: seconds=120
. "$LAB/lib.sh"

node r 11; node s1 21; node s2 22; node u1 31; node u2 32; node u3 33; node u4 34
ours() {
  lab ping1 s1 serve --registrar sctp://10.0.0.11:3863 --id $((0x21)) --sctp 10.0.0.21:7 PingPongPool
  lab calc1 s1 serve --registrar sctp://10.0.0.11:3863 --id $((0x21)) --sctp 10.0.0.21:8 --service calc CalcAppPool
}
theirs() {
  rsp_server ping2 s2 r -pingpong -identifier=0x22
  rsp_server calc2 s2 r -calcapp -identifier=0x22 -capcapacity=1000000 -capcookiemaxtime=0.1 \
    "-capvector=$LAB_OUT/calc2.vec" "-capscalar=$LAB_OUT/calc2.sca"
}
listed_are() { list_is r PingPongPool "$1" && list_is r CalcAppPool "$1"; }
answered_by() { awk -v id="0x$2" '$3 == 1 { last = $4 } END { exit last != id }' "$LAB_OUT/$1.log"; }

say "users of both implementations begin with our elements"
our_registrar registrar r
ours
need within 5 "our elements are listed" listed_are 0x21
rsp_pingpong their-ping u1 r
start their-calc u2 stdbuf -oL calcappclient $RSP_LOG -registrar=10.0.0.11:3863 -asapannounce=off -jobinterval=1 \
  -jobsize=400000000 "-vector=$LAB_OUT/calc.vec" "-scalar=$LAB_OUT/calc.sca"
lab our-ping u3 converse --registrar sctp://10.0.0.11:3863 --every 20 PingPongPool
lab our-calc u4 converse --registrar sctp://10.0.0.11:3863 --job 9000000 CalcAppPool
within 5 "their user of ping-pong is answered by ours" told their-ping 'PE .00000021'
within 5 "their job is taken by ours" told their-calc 'Job #1 accepted'
within 5 "our user of ping-pong is answered" answered_by our-ping 21
theirs
need within 5 "the reference implementation's elements are listed" listed_are 0x21,0x22

say "ours are killed"
crash ping1; crash calc1
within 5 "their user of ping-pong goes on with theirs" told their-ping 'PE .00000022'
within 5 "ours too" answered_by our-ping 22
within 5 "our job goes on" told our-calc '0x22 failover cookie=true'
within 5 "their job goes on: it is talked about" talks_with u2 22
ours
need within 5 "ours are back" listed_are 0x21,0x22
# Until users have heard of it.
pause 2

say "theirs are killed"
crash ping2; crash calc2
within 5 "both users of ping-pong come back to ours, with the count of replies in their cookies" \
  told ping1 'session begins at [0-9]{2,}' 2
within 5 "both jobs come back to ours, with what is done" told calc1 'job 1 goes on at [1-9][0-9]{5,}' 2
within 5 "our user of ping-pong is answered" answered_by our-ping 21
within 15 "our job is completed" told our-calc ' 1 0x21 9000000'
holds "the replies to our user are counted through from element to element" \
  awk '$3 == 1 { if ($5 < last) exit 1; last = $5 }' "$LAB_OUT/our-ping.log"
at_most "the job of nine seconds, from element to element" 16000 \
  "$(awk '$3 == 1 { printf "%d", $2 }' "$LAB_OUT/our-calc.log")" ms
stop our-ping; stop their-ping INT; crash their-calc

for user in 31 32 33 34; do
  seen "user $user shows our cookie to the reference implementation" at-least 1 "$(sent $user $ASAP_COOKIE_ECHO) && ip.dst == 10.0.0.22"
  seen "and its cookie to us" at-least 1 "$(sent $user $ASAP_COOKIE_ECHO) && ip.dst == 10.0.0.21"
done
seen "we abort no association of theirs that lives" at-most 0 "sctp.chunk_type == 6 && ip.src == 10.0.0.21 && ip.dst == 10.0.0.22"
