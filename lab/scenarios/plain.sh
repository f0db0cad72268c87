#!/bin/bash
# Servers and clients that know nothing of pools: plain SCTP and UDP servers adopted.
. "$LAB/lib.sh"

node r 11; node s1 21; node s2 22; node s3 23; node u 31

our_registrar registrar r
lab server1 s1 echo --sctp 10.0.0.21:7
lab server2 s2 echo --sctp 10.0.0.22:7
lab server3 s3 echo --udp 10.0.0.23:7
our_element element1 s1 r Echo --sctp 10.0.0.21:7 --id 0x21 --drain 0s
our_element element2 s2 r Echo --sctp 10.0.0.22:7 --id 0x22 --drain 0s
our_element element3 s3 r Datagrams --udp 10.0.0.23:7 --id 0x23 --drain 0s \
  --check-timeout 2s --check "command:bash -c 'exec 3<>/dev/udp/10.0.0.23/7; echo x >&3; read -rn 1 -t 1 -u 3'"
need within 5 "the SCTP servers are listed" list_is r Echo 0x21,0x22
within 5 "the UDP server is listed" list_is r Datagrams 0x23
is "as what they are" "Datagrams udp 10.0.0.23:7,Echo sctp 10.0.0.21:7,Echo sctp 10.0.0.22:7" \
  "$(list r | jq -r '.[] | .pool as $pool | .elements[] | "\($pool) \(.transport) \(.addresses[0])"' | sort | paste -sd,)"

address=$(on u "$RSERPOOL" resolve Echo --registrar sctp://10.0.0.11:3863 --items 1 --json | jq -r '.elements[0].addresses[0]')
on u "$LAB_TOOL" talk "$address" --sctp --times 50 --every 5 >"$LAB_OUT/client.log"
is "a plain client talks to the one it is given, $address" 50 "$(tally client answered)"

crash server1
within 3 "a killed SCTP server is not listed" list_is r Echo 0x22
lab server1 s1 echo --sctp 10.0.0.21:7
within 5 "and is when it runs again" list_is r Echo 0x21,0x22
crash server3
within 3 "a killed UDP server is not listed" list_is r Datagrams ""
