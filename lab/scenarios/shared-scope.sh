#!/bin/bash
# Registrars of both kinds keep one handlespace, whoever comes first, and take over from each other.
#: seconds=240
. "$LAB/lib.sh"

node ours 11; node theirs1 12; node theirs2 13; node s1 21; node s2 22; node u 31

# Both announce themselves to each other and nobody else; the reference implementation's faster than it would.
ours() { our_registrar ours ours --enrp sctp://10.0.0.11:9901 --id 0x11 --announce eth0 "$@"; }
theirs() {
  rsp_registrar "theirs$1" "theirs$1" "-identifier=0x1$(($1 + 1))" -asapannounce=off -enrpannounce=auto \
    -peerheartbeatcycle=500 -peermaxtimelastheard=1200 -peermaxtimenoresponse=500 -takeoverexpiryinterval=500 \
    -mentordiscoverytimeout=2000
}
# their_server NAME NODE IDENTIFIER REGISTRAR-NODE..: a server that knows these registrars.
their_server() {
  local name=$1 node=$2 id=$3 registrars=() registrar; shift 3
  for registrar in "$@"; do registrars+=("-registrar=${HOST[$registrar]}:3863"); done
  start "$name" "$node" stdbuf -oL rspserver $RSP_LOG "${registrars[@]}" -asapannounce=off -rereginterval=1000 \
    -echo "-identifier=$id"
}
# our_server NAME NODE IDENTIFIER REGISTRAR-NODE..
our_server() {
  local name=$1 node=$2 id=$3 registrars=() registrar; shift 3
  for registrar in "$@"; do registrars+=(--registrar "sctp://${HOST[$registrar]}:3863"); done
  lab "$name" "$node" element "${registrars[@]}" --sctp "${HOST[$node]}:7" --id $((id)) EchoPool
}
# homes: of the elements that ours knows, such as 0x21:0x11.
homes() { list ours | jq -r '.[].elements[] | "\(.id):\(.home)"' | sed 's/0x0*/0x/g' | sort | paste -sd,; }
homes_are() { [[ $(homes) == "$1" ]]; }
# dumped REGISTRAR-NODE: what the reference implementation's tool reads there, such as 0x21:0x11.
dumped() {
  on u timeout 8 hsdump "${HOST[$1]}:9901" >"$LAB_OUT/hsdump-$1.txt" 2>&1
  sed -n '/^\*-- Index:/,/^\*-- Selection:/p' "$LAB_OUT/hsdump-$1.txt" |
    sed -n 's/.*idx:#[0-9]*: \$0*\([0-9a-f]*\) .*/\1/p; s/.* home=\$0*\([0-9a-f]*\) .*/\1/p' |
    paste -d: - - | sed 's/\([0-9a-f]*\):/0x\1:0x/' | sort | paste -sd,
}
peers() { on ours timeout 5 "$RSERPOOL" registrars --json 2>>"$LAB_OUT/list.txt" | jq -r '.[].server' | sed 's/0x0*/0x/' | sort | paste -sd,; }
registered_at_theirs() { [[ $(dumped theirs1) == 0x21:0x12,0x22:0x12 ]]; }
peers_are() { [[ $(peers) == "$1" ]]; }

say "theirs is there first, with a server; ours joins"
theirs 1
their_server server1 s1 0x21 theirs1
need within 5 "the server is at home with theirs" pool_is theirs1 EchoPool 0x21
ours
need within 3 "ours has it from its table" homes_are 0x21:0x12
our_server server2 s2 0x22 ours
within 3 "what joins at ours" homes_are 0x21:0x12,0x22:0x11
within 3 "theirs has by an update" pool_is theirs1 EchoPool 0x21,0x22
stop server2
within 3 "what leaves at ours" homes_are 0x21:0x12
within 3 "has left at theirs" pool_is theirs1 EchoPool 0x21
stop server1 INT
within 3 "what leaves at theirs has left at ours" homes_are ""
their_server server1 s1 0x21 theirs1
our_server server2 s2 0x22 ours
within 4 "both come back" homes_are 0x21:0x12,0x22:0x11

say "one of ours at home with theirs, which keeps the life that it is told first"
our_server server3 u 0x23 theirs1
within 3 "ours has its copy" homes_are 0x21:0x12,0x22:0x11,0x23:0x12
throughout 4 "and keeps it" homes_are 0x21:0x12,0x22:0x11,0x23:0x12
stop server3
within 3 "until it leaves" homes_are 0x21:0x12,0x22:0x11

say "its tool reads ours, and does not stay as a peer"
is "it shows" 0x21:0x12,0x22:0x11 "$(dumped ours)"
within 5 "peers of ours are ours and theirs" peers_are 0x11,0x12

say "theirs is killed"
lab user observer ask 10.0.0.11:3863 EchoPool --every 20
crash theirs1
within 3 "ours is home to its server" homes_are 0x21:0x11,0x22:0x11
throughout 4 "and keeps it" homes_are 0x21:0x11,0x22:0x11
stop user
is "questions that failed meanwhile" 0 "$(tally user failed)"

say "two of theirs join ours"
theirs 1; theirs 2
within 3 "the first has all" pool_is theirs1 EchoPool 0x21,0x22
within 3 "the second, too" pool_is theirs2 EchoPool 0x21,0x22
within 5 "all know each other" peers_are 0x11,0x12,0x13
pause 3
is "homes are as before" 0x21:0x11,0x22:0x11 "$(homes)"
say "ours is killed"
crash ours
for n in 1 2; do throughout 6 "nobody leaves the pool at theirs $n" pool_is theirs$n EchoPool 0x21,0x22; done
homes=$(dumped theirs1)
# Which of the two is for them to find out.
is "theirs have taken all over" 0x21:0xT,0x22:0xT "$(sed 's/:0x1[23]/:0xT/g' <<<"$homes")"
is "and agree" "$homes" "$(dumped theirs2)"
stop server1 INT; stop server2; stop theirs1 INT; stop theirs2 INT

say "one of each, and servers that know both; ours is killed"
ours
their_server server1 s1 0x21 ours theirs1
our_server server2 s2 0x22 ours theirs1
within 10 "both are at home with ours" homes_are 0x21:0x11,0x22:0x11
theirs 1
within 5 "theirs has them as well" pool_is theirs1 EchoPool 0x21,0x22
crash ours
within 15 "both are at home with theirs, by their own hunt" registered_at_theirs
within 15 "and in the pool" pool_is theirs1 EchoPool 0x21,0x22

seen "ours asks theirs for its table" at-least 1 "enrp.message_type == 2 && ip.src == 10.0.0.11 && ip.dst == 10.0.0.12"
seen "and theirs asks ours" at-least 1 "enrp.message_type == 2 && ip.src == 10.0.0.12 && ip.dst == 10.0.0.11"
seen "lists of ours" at-least 1 "enrp.message_type == 6 && ip.src == 10.0.0.11"
seen "lists of theirs" at-least 1 "enrp.message_type == 6 && ip.src == 10.0.0.12"
seen "updates of ours" at-least 2 "enrp.message_type == 4 && ip.src == 10.0.0.11"
seen "updates of theirs" at-least 2 "enrp.message_type == 4 && ip.src == 10.0.0.12"
seen "presences of ours" at-least 20 "enrp.message_type == 1 && ip.src == 10.0.0.11 && sctp"
seen "presences of theirs" at-least 20 "enrp.message_type == 1 && ip.src == 10.0.0.12 && sctp"
seen "ours calls their server home" at-least 1 "$(sent 11 $ASAP_ENDPOINT_KEEP_ALIVE) && asap.h_bit == 1 && ip.dst == 10.0.0.21"
# Two audits of one peer in a second, all the time, would be checksums that never agree.
seen "tables are asked for now and then" at-most 20 "enrp.message_type == 2"
