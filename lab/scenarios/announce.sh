#!/bin/bash
# Nobody is told where anybody is: all find each other by announcements.
. "$LAB/lib.sh"

# Where nobody but the network says where a registrar is.
theirs() { local name=$1 node=$2; shift 2; start "$name" "$node" stdbuf -oL "$@" $RSP_LOG; }

node r 11; node s1 21; node s2 22; node u1 31; node u2 32; node x 66
distrust x

say "our registrar announces itself"
our_registrar registrar r --announce eth0
start element s1 "$RSERPOOL" element Lines --announce eth0 --tcp 10.0.0.21:7 --id 0x21 --drain 0s
lab server s1 echo --tcp 0.0.0.0:7
theirs server2 s2 rspserver -echo -identifier=0x22
within 8 "our element finds it" list_is r Lines 0x21
within 8 "and so does the reference implementation's" list_is r EchoPool 0x22
is "our user finds it" 1 "$(on u1 timeout 8 "$RSERPOOL" resolve Lines --announce eth0 --json | jq '.elements | length')"
exec {LINES_FROM}< <(n=0; while echo "line $((++n))"; do pause 0.1; done 2>/dev/null)
start_with "$LINES_FROM" user u2 stdbuf -oL rspterminal -poolhandle=EchoPool $RSP_LOG
within 10 "and so does the reference implementation's" told user 'line 5'

say "somebody forges announcements of registrars that are not there"
forge() {
  local id hex
  for ((id = 1; id <= 300; id++)); do
    # ASAP_SERVER_ANNOUNCE, an id, an SCTP transport at 10.0.0.66 with a port of its own.
    printf -v hex '\\x%02x\\x%02x' $((id >> 8)) $((id & 255))
    printf '\x0a\x00\x00\x18\x66\x00'"$hex"'\x00\x04\x00\x10'"$hex"'\x00\x00\x00\x01\x00\x08\x0a\x00\x00\x42' \
      >/dev/udp/239.0.0.50/3863
  done
}
export -f forge
on x timeout 20 bash -c forge
throughout 3 "our element stays with its registrar" list_is r Lines 0x21
is "and has registered once" 1 "$(times element ' registered')"

say "the registrar is killed, and another one comes up somewhere else"
node r2 12
crash registrar; pause 1
our_registrar registrar2 r2 --announce eth0
within 15 "our element finds the new one" list_is r2 Lines 0x21
within 30 "and so does the reference implementation's" list_is r2 EchoPool 0x22
is "our user, too" 1 "$(on u1 timeout 8 "$RSERPOOL" resolve Lines --announce eth0 --json | jq '.elements | length')"
stop registrar2

say "the reference implementation's registrar announces itself"
theirs registrar3 r rspregistrar -asap=10.0.0.11:3863 -enrp=10.0.0.11:9901
within 25 "our element finds that one, too" pool_is r Lines 0x21
is "and our user" 1 "$(on u1 timeout 8 "$RSERPOOL" resolve Lines --announce eth0 --json | jq '.elements | length')"

seen "our registrar announces itself" at-least 3 "asap.message_type == $ASAP_SERVER_ANNOUNCE && ip.src == 10.0.0.11 && udp"
seen "from its ASAP port" at-most 0 "asap.message_type == $ASAP_SERVER_ANNOUNCE && ip.src == 10.0.0.12 && udp && !(udp.srcport == 3863)"
