#!/bin/bash
# Two scopes in one process, fully apart, with an element in both; a user in a network of neither reaches a
# pool by POOL@SCOPE.
. "$LAB/lib.sh"

# East is the first network, west the second; the user is in a third one, and this machine routes.
node r 11 2; node both 21 2; node easterner 22; node westerner 23 2
network br2 10.2.0
ip netns add u; ip -n u link set lo up
plug u 0 br2 10.2.0.31
ip -n u route add default via 10.2.0.254
echo 1 >/proc/sys/net/ipv4/ip_forward

cat >"$LAB_OUT/registrar.toml" <<'TOML'
[[scope]]
name = "east"
asap = ["sctp://10.0.0.11:3863", "tcp://10.0.0.11:3863"]
enrp = "tcp://127.0.0.1:9901"

[[scope]]
name = "west"
asap = ["sctp://10.1.0.11:3863", "tcp://10.1.0.11:3863"]
enrp = "tcp://127.0.0.1:9902"
[scope.timers]
preset = "realtime"
TOML
EAST=sctp://10.0.0.11:3863 WEST=sctp://10.1.0.11:3863
# in_scope SCOPE POOL: identifiers.
in_scope() {
  local port=9901; [[ $1 == west ]] && port=9902
  on r timeout 3 "$RSERPOOL" list --enrp "tcp://127.0.0.1:$port" --json 2>>"$LAB_OUT/list.txt" |
    jq -r --arg pool "$2" '.[] | select(.pool == $pool) | .elements[].id' | sed 's/0x0*/0x/' | sort | paste -sd,
}
is_in() { [[ $(in_scope "$1" "$2") == "$3" ]]; }
# reaches POOL: how many elements the user finds; its own scope is east.
reaches() {
  on u timeout 5 "$RSERPOOL" resolve "$1" --registrar "$EAST" --scope "west=$WEST" --json 2>>"$LAB_OUT/resolve.txt" |
    jq '.elements | length'
}

say "one process, two scopes, three servers"
start registrar r "$RSERPOOL" registrar --config "$LAB_OUT/registrar.toml"
need within 5 "both scopes are served" told registrar 'registrar started' 2
for host in both easterner westerner; do lab "server-$host" $host echo --tcp 0.0.0.0:7; done
start element-both both "$RSERPOOL" element web web@west books@west --registrar $EAST --scope west=$WEST \
  --tcp 10.0.0.21:7 --id 0x21 --drain 0s
start element-east easterner "$RSERPOOL" element web maps --registrar $EAST --tcp 10.0.0.22:7 --id 0x22 --drain 0s
start element-west westerner "$RSERPOOL" element web --registrar $WEST --tcp 10.1.0.23:7 --id 0x23 --drain 0s
within 5 "in the east" is_in east web 0x21,0x22
within 5 "in the west" is_in west web 0x21,0x23
is "pools that are in the west only" "0x21, " "$(in_scope west books), $(in_scope east books)"
is "and in the east only" "0x22, " "$(in_scope east maps), $(in_scope west maps)"

say "a user in a third network"
is "elements of web" 2 "$(reaches web)"
is "of web@west" 2 "$(reaches web@west)"
is "of books@west" 1 "$(reaches books@west)"
is "of books, which is not in its scope" "" "$(reaches books)"
is "of maps@west, which is not in that one" "" "$(reaches maps@west)"
start proxy u "$RSERPOOL" proxy books@west --registrar $EAST --scope west=$WEST --listen 127.0.0.1:8000
within 5 "a proxy serves it" told proxy serving
lab client u talk 127.0.0.1:8000 --every 20 --patience 5000
within 5 "a client is answered" told client ' ok$' 50

say "what happens in one scope is not seen in the other"
crash server-westerner
within 3 "a killed server has left the west" is_in west web 0x21
is "the east is as it was" 0x21,0x22 "$(in_scope east web)"
ip -n r link set eth1 down
within 5 "the west has lost its network, and its elements" is_in west web ""
throughout 3 "the east has not" is_in east web 0x21,0x22
is "elements that a user finds in the east" 2 "$(reaches web)"
ip -n r link set eth1 up
ip -n r route replace default via 10.0.0.254
within 10 "the west has a network again, and who lives comes back" is_in west web 0x21
stop client
at_least "lines that the client had echoed" 50 "$(tally client answered)"

say "an element leaves"
stop element-both
within 3 "the east" is_in east web 0x22
within 3 "and the west" is_in west web ""
