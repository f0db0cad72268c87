#!/bin/bash
# The reference implementation's registrar serves our elements and users.
. "$LAB/lib.sh"

node r 11; node s1 21; node s2 22; node s3 23; node p 31; node u 32

say "its registrar; our elements adopt echo servers that know nothing of it"
rsp_registrar registrar r -endpointkeepalivetransmissioninterval=500
for n in 1 2 3; do
  lab server$n s$n echo --tcp 0.0.0.0:7
  our_element element$n s$n r Lines --tcp 10.0.0.2$n:7 --id 0x2$n --drain 0s
done
need within 5 "all three are in the pool" pool_is r Lines 0x21,0x22,0x23

say "our users: resolve, and the proxy for clients without pools"
resolved=$(on u "$RSERPOOL" resolve Lines --registrar sctp://10.0.0.11:3863 --items 3 --json | jq -r '.elements[].addresses[]' | sort | paste -sd,)
is "rserpool resolve shows them" "10.0.0.21:7,10.0.0.22:7,10.0.0.23:7" "$resolved"
on u "$RSERPOOL" resolve Nothing --registrar sctp://10.0.0.11:3863 2>"$LAB_OUT/nothing.txt"
is "a pool that is not there ends it with code" 1 $?
holds "and words" grep -q 'Nothing' "$LAB_OUT/nothing.txt"
start proxy p "$RSERPOOL" proxy Lines --registrar sctp://10.0.0.11:3863 --listen 0.0.0.0:8000
need within 5 "the proxy serves" told proxy serving
say "our tools show it"
is "rserpool registrars shows it" "serving 3 true" \
  "$(on u "$RSERPOOL" registrars --enrp sctp://10.0.0.11:9901 --json | jq -r '.[] | "\(.state) \(.elements) \(.in_sync)"')"
# Their life was right from the first registration on, and stayed as it was.
is "rserpool dump shows its elements" "0x00000021 30,0x00000022 30,0x00000023 30" \
  "$(on u "$RSERPOOL" dump --peer sctp://10.0.0.11:9901 --json | jq -r '.pools[].elements[] | "\(.id) \(.life)"' | sort | paste -sd,)"
lab client u talk 10.0.0.31:8000 --every 20 --patience 5000
within 5 "a client is answered" told client ' ok$' 20
pause 6
is "nobody had to register anew" 3 "$(cat "$LAB_OUT"/element?.log | grep -c ' registered')"

say "a server is killed: its element leaves"
crash server1
within 3 "the pool has the other two" pool_is r Lines 0x22,0x23
say "an element is killed: the registrar sees its association go"
crash element2
within 3 "the pool has the last" pool_is r Lines 0x23
say "the last leaves in order"
stop client
at_most "lines lost in all of this, under way with the server that was killed" 1 "$(tally client failed)"
stop element3; stop proxy
within 2 "the pool is gone" pool_is r Lines ""

seen "elements answer its keep-alives" at-least 4 "asap.message_type == $ASAP_ENDPOINT_KEEP_ALIVE_ACK"
seen "every registration is granted" at-most 0 "$(sent 11 $ASAP_REGISTRATION_RESPONSE) && asap.cause_code"
seen "two elements deregister" at-least 2 "asap.message_type == $ASAP_DEREGISTRATION"
seen "its registrar aborts no association" at-most 0 "sctp.chunk_type == 6 && ip.src == 10.0.0.11"
