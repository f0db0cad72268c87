#!/bin/bash
# Our registrar serves the reference implementation's servers and users.
. "$LAB/lib.sh"

node r 11; node s1 21; node s2 22; node s3 23; node s4 24; node u1 31; node u2 32

say "two echo servers, two ping-pong servers"
our_registrar registrar r
rsp_server echo1 s1 r -echo -identifier=0x21
rsp_server echo2 s2 r -echo -identifier=0x22
rsp_server ping1 s3 r -pingpong -identifier=0x23
rsp_server ping2 s4 r -pingpong -identifier=0x24
need within 5 "the echo servers are listed" list_is r EchoPool 0x21,0x22
need within 5 "the ping-pong servers are listed" list_is r PingPongPool 0x23,0x24
is "and an answer has the same" "0x21,0x22" "$(members r EchoPool)"
is "they are listed as reached by SCTP, with a control channel" "sctp true" \
  "$(list r | jq -r '[.[].elements[] | "\(.transport) \(.control)"] | unique | join(";")')"

say "a user of each"
rsp_terminal user1 u1 r EchoPool
rsp_pingpong user2 u2 r
within 5 "the echo user is answered" told user1 'line 5'
within 5 "the ping-pong user is answered" told user2 'Ack #10 '
pause 2
is "nothing was removed so far" 0 "$(times registrar 'element removed')"

say "each loses the server it talks to: kill -9"
if talks_with u1 21; then lost=echo1 left=22; else lost=echo2 left=21; fi
crash $lost
within 3 "the list has only the other echo server" list_is r EchoPool 0x$left
within 5 "the echo user talks to the other one" talks_with u1 $left
echoed=$(times user1 'line')
within 5 "and is answered by it" told user1 line $((echoed + 5))
if talks_with u2 23; then lost=ping1 rest=24; else lost=ping2 rest=23; fi
crash $lost
within 3 "the list has only the other ping-pong server" list_is r PingPongPool 0x$rest
within 5 "the other one answers the ping-pong user" told user2 "PE .000000$rest"

say "the others leave in order"
stop user1 INT; stop user2 INT
stop echo$((left - 20)) INT; stop ping$((rest - 22)) INT
within 2 "there are no pools" list_is r EchoPool ""
is "of the registrar" "[]" "$(list r | jq -c .)"

seen "each server registers again" at-least 3 "$(sent $left $ASAP_REGISTRATION)"
seen "each is granted" at-most 0 "asap.message_type == $ASAP_REGISTRATION_RESPONSE && asap.cause_code"
seen "the registrar asks for signs of life" at-least 4 "$(sent 11 $ASAP_ENDPOINT_KEEP_ALIVE)"
seen "and gets them" at-least 4 "$(sent $left $ASAP_ENDPOINT_KEEP_ALIVE_ACK)"
seen "users ask" at-least 2 "asap.message_type == $ASAP_HANDLE_RESOLUTION && ip.src != 10.0.0.250"
seen "the ping-pong user shows its cookie to the other server" at-least 1 "$(sent 32 $ASAP_COOKIE_ECHO)"
seen "the others deregister" at-least 2 "asap.message_type == $ASAP_DEREGISTRATION"
seen "the registrar sends no unasked-for deregistration response" at-most 2 "$(sent 11 $ASAP_DEREGISTRATION_RESPONSE)"
seen "the registrar reports no errors" at-most 0 "$(sent 11 $ASAP_ERROR)"
seen "the registrar aborts no association" at-most 0 "sctp.chunk_type == 6 && ip.src == 10.0.0.11"
