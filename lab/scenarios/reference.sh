#!/bin/bash
# The reference implementation alone: the lab finds of it what it is known to do.
. "$LAB/lib.sh"

node r 11; node s1 21; node s2 22; node u 31; node t 32

say "its registrar, and two ping-pong servers in one pool"
rsp_registrar registrar r -endpointkeepalivetransmissioninterval=500
rsp_server server1 s1 r -pingpong -identifier=0x21
rsp_server server2 s2 r -pingpong -identifier=0x22
within 5 "both servers are in the pool" pool_is r PingPongPool 0x21,0x22

say "a user of the pool, and the server it talks to killed"
rsp_pingpong user u r
within 5 "the user is answered" told user 'Ack #10 '
active=$(grep -aoE 'PE \$[0-9a-f]+' "$LAB_OUT/user.log" | tail -1)
case $active in *21) first=server1 left=22 ;; *) first=server2 left=21 ;; esac
began=$(now); crash $first
within 3 "the pool has only the other" pool_is r PingPongPool 0x$left
within 5 "the other answers the user" told user "PE .000000$left"

say "the other leaves in order"
stop user INT
rest=server$((left - 20)); stop "$rest" INT
within 2 "the pool is gone" pool_is r PingPongPool ""

seen "servers register again" at-least 2 "$(sent 2$((left - 20)) $ASAP_REGISTRATION)"
seen "the registrar asks for signs of life" at-least 1 "$(sent 11 $ASAP_ENDPOINT_KEEP_ALIVE)"
seen "and is answered" at-least 1 "asap.message_type == $ASAP_ENDPOINT_KEEP_ALIVE_ACK"
seen "the user gets cookies" at-least 10 "asap.message_type == $ASAP_COOKIE"
seen "and shows the last one to the other server" at-least 1 "asap.message_type == $ASAP_COOKIE_ECHO"
seen "the other server deregisters" at-least 1 "$(sent "$left" $ASAP_DEREGISTRATION)"
