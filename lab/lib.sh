# The words that scenarios are written in; each scenario sources this file first.
#
# It runs as root in a machine of its own (crates/rserpool-sctp/tests/uml/run.sh): nothing here reaches
# the network of the host. Files go to $LAB_OUT on the host:
#   findings   one line for each thing that was checked: ok or MISS, what, wanted, found
#   figures    one line for each figure that belongs in a table: table, row, column, value
#   NAME.log   what the program called NAME has written
#   br0.pcap   everything that crossed the first network; br1.pcap the second
#
#             10.0.0.254                            10.1.0.254
#   br0 ══════════╤═══════════╤════════     br1 ════════════╤════════
#              eth0 .11    eth0 .21                      eth1 .21
#                 a           b ─────────────────────────── b
#
# Times are in seconds, such as 0.25.
set -u

LAB_OUT=${LAB_OUT:?run scenarios by: cargo xtask lab SCENARIO}
RSERPOOL=${RSERPOOL:-rserpool} LAB_TOOL=${LAB_TOOL:-rserpool-lab}
declare -A PID=() HOST=() PATH2=()

# ---------------------------------------------------------------- networks and nodes

# A network: a bridge that floods multicast, with this machine itself at .254.
network() {
  ip link add "$1" type bridge mcast_snooping 0 forward_delay 0
  ip addr add "$2.254/24" dev "$1"
  ip link set "$1" up
}

# node NAME NUMBER [2]: a host at 10.0.0.NUMBER; with 2 also at 10.1.0.NUMBER, a second path.
node() {
  local name=$1 number=$2 paths=${3:-1} path
  HOST[$name]=10.0.0.$number
  ((paths > 1)) && PATH2[$name]=10.1.0.$number
  ip netns add "$name"
  ip -n "$name" link set lo up
  for ((path = 0; path < paths; path++)); do plug "$name" "$path" "br$path" "10.$path.0.$number"; done
  ip -n "$name" route add default via 10.0.0.254
  ip -n "$name" route add 224.0.0.0/4 dev eth0
}

# plug NODE PATH NETWORK ADDRESS: a cable from a node to a network.
plug() {
  ip link add "$1.$2" type veth peer name "eth$2" netns "$1"
  ip link set "$1.$2" master "$3" up
  ip -n "$1" addr add "$4/24" dev "eth$2"
  ip -n "$1" link set "eth$2" up
}

# cut NODE [PATH]: its cable is pulled at the other end, so that the node itself sees nothing of it.
cut() { ip link set "$1.${2:-0}" nomaster; }
mend() { ip link set "$1.${2:-0}" master "br${2:-0}"; }

# shape NODE NETEM...: what leaves the node and what reaches it is treated as `tc netem` says.
shape() {
  local node=$1; shift
  tc -n "$node" qdisc replace dev eth0 root netem "$@"
  tc qdisc replace dev "$node.0" root netem "$@"
}

# ---------------------------------------------------------------- programs

# on NODE COMMAND...: runs a command there and waits for it.
on() { ip netns exec "$@"; }

# start NAME NODE COMMAND...: starts a program there; what it writes goes to NAME.log.
start() { start_with 0 "$@" </dev/null; }
# start_with DESCRIPTOR NAME NODE COMMAND...: with that as its input.
start_with() {
  local input=$1 name=$2 before=1; shift 2
  # A log is one program's: that of an earlier one of the same name is kept beside it.
  if [[ -e $LAB_OUT/$name.log ]]; then
    while [[ -e $LAB_OUT/$name.$before.log ]]; do ((before++)); done
    mv "$LAB_OUT/$name.log" "$LAB_OUT/$name.$before.log"
  fi
  ip netns exec "$@" <&"$input" >>"$LAB_OUT/$name.log" 2>&1 &
  PID[$name]=$!
}

# send SIGNAL NAME
send() { kill -"$1" "${PID[$2]}"; }

# stop NAME [SIGNAL]: asks it to end, and waits until it has; after 10 s it is killed.
stop() {
  kill -"${2:-TERM}" "${PID[$1]}" 2>>/dev/null
  local began=${EPOCHREALTIME/[.,]/}
  while running "$1"; do
    if (($(since "$began") > 10000)); then
      found "$1 ends when asked to" "within 10 s" "no: it was killed" 1
      kill -9 "${PID[$1]}"
    fi
    pause 0.02
  done
  wait "${PID[$1]}" 2>>/dev/null
  unset "PID[$1]"
}

# crash NAME: kill -9.
crash() {
  kill -9 "${PID[$1]}"
  wait "${PID[$1]}" 2>>/dev/null
  unset "PID[$1]"
}

running() { grep -q '^State:.[^Z]' "/proc/${PID[$1]}/status" 2>>/dev/null; }

# rss NAME: resident memory in KiB.
rss() { awk '/^VmRSS:/ { print $2 }' "/proc/${PID[$1]}/status"; }

# ---------------------------------------------------------------- time

exec {NEVER}<> <(:)
# pause SECONDS, without a process for it: they are slow here.
pause() { read -rt "$1" -u "$NEVER" || true; }

# Microseconds since 1970.
now() { echo "${EPOCHREALTIME/[.,]/}"; }

# ms SECONDS: as whole milliseconds.
ms() {
  local whole=${1%.*} part=
  [[ $1 == *.* ]] && part=${1#*.}
  part=${part}000
  echo $((10#${whole:-0} * 1000 + 10#${part:0:3}))
}

# since MICROSECONDS: how long ago that was, in milliseconds.
since() { echo $(((${EPOCHREALTIME/[.,]/} - $1) / 1000)); }

# ---------------------------------------------------------------- findings

# found WHAT WANTED FOUND PASSED: notes a finding; passed if PASSED is 0.
found() {
  local word=ok
  [[ $4 == 0 ]] || word=MISS
  printf '%s\t%s\t%s\t%s\n' "$word" "$1" "$2" "$3" >>"$LAB_OUT/findings"
  printf '%s %-4s %s: %s (wanted: %s)\n' "$(printf '%(%T)T')" "$word" "$1" "$3" "$2"
  return "$4"
}

# is WHAT WANTED FOUND
is() { [[ $2 == "$3" ]]; found "$1" "$2" "$3" $?; }

# at_most WHAT LIMIT VALUE [UNIT], at_least: whole numbers.
at_most() { [[ -n $3 ]] && (($3 <= $2)); found "$1" "at most $2${4:+ $4}" "${3:-nothing}${4:+ $4}" $?; }
at_least() { [[ -n $3 ]] && (($3 >= $2)); found "$1" "at least $2${4:+ $4}" "${3:-nothing}${4:+ $4}" $?; }

# tolerated LIMIT: what is measured may be that much if LAB_MARGIN percent are allowed for others that
# use the machine meanwhile.
tolerated() { echo $(($1 * (100 + ${LAB_MARGIN:-0}) / 100)); }

# holds WHAT COMMAND...: it succeeds now.
holds() { local what=$1; shift; "$@"; local code=$?; found "$what" yes "$( ((code)) && echo no || echo yes)" $code; }

# within SECONDS WHAT COMMAND...: it succeeds before that much time has gone by.
within() {
  local limit what=$2 began=${EPOCHREALTIME/[.,]/} took
  limit=$(ms "$1"); shift 2
  until "$@"; do
    took=$(since "$began")
    if ((took > limit)); then
      found "$what" "within $limit ms" "not in $took ms" 1
      return
    fi
    pause 0.02
  done
  found "$what" "within $limit ms" "$(since "$began") ms" 0
}

# throughout SECONDS WHAT COMMAND...: it succeeds whenever it is tried in that time.
throughout() {
  local limit what=$2 began=${EPOCHREALTIME/[.,]/}
  limit=$(ms "$1"); shift 2
  while (($(since "$began") < limit)); do
    if ! "$@"; then
      found "$what" "for $limit ms" "until $(since "$began") ms" 1
      return
    fi
    pause 0.1
  done
  found "$what" "for $limit ms" yes 0
}

not() { ! "$@"; }

# need FINDING...: without it there is no point in going on.
need() { "$@" || exit 1; }

# figure TABLE ROW COLUMN VALUE: for the tables that the task prints at its end.
figure() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$LAB_OUT/figures"; }

# say WHAT: for whoever reads along.
say() { printf '%(%T)T == %s\n' -1 "$*"; }

# ---------------------------------------------------------------- who takes part

# The reference implementation: rsp_registrar NAME NODE [FLAG..], rsp_server NAME NODE REGISTRAR-NODE FLAG..
# It waits for a mentor for 5 s; its servers would register again only every minute.
RSP_LOG="-loglevel=5 -logcolor=off"
rsp_registrar() {
  local name=$1 node=$2; shift 2
  start "$name" "$node" stdbuf -oL rspregistrar $RSP_LOG "-asap=${HOST[$node]}:3863" "-enrp=${HOST[$node]}:9901" \
    "$@"
  need within 9 "$name is ready" told "$name" 'The registrar is ready'
}
rsp_server() {
  local name=$1 node=$2 registrar=$3; shift 3
  start "$name" "$node" stdbuf -oL rspserver $RSP_LOG "-registrar=${HOST[$registrar]}:3863" -asapannounce=off \
    -rereginterval=1000 "$@"
}
# rsp_pingpong NAME NODE REGISTRAR-NODE [FLAG..]: a user that sends a ping every 20 ms.
rsp_pingpong() {
  local name=$1 node=$2 registrar=$3; shift 3
  start "$name" "$node" stdbuf -oL pingpongclient $RSP_LOG "-registrar=${HOST[$registrar]}:3863" -asapannounce=off \
    -interval=20 "$@"
}

# rsp_terminal NAME NODE REGISTRAR-NODE POOL: a user that sends ten lines a second to be echoed.
rsp_terminal() {
  local name=$1 node=$2 registrar=$3 pool=$4; shift 4
  exec {LINES_FROM}< <(n=0; while echo "line $((++n))"; do pause 0.1; done 2>/dev/null)
  start_with "$LINES_FROM" "$name" "$node" stdbuf -oL rspterminal $RSP_LOG "-registrar=${HOST[$registrar]}:3863" \
    -asapannounce=off "-poolhandle=$pool" "$@"
  exec {LINES_FROM}<&-
}
# lab NAME NODE WHAT..: the lab's own client or server.
lab() { local name=$1 node=$2; shift 2; start "$name" "$node" "$LAB_TOOL" "$@"; }
# tally NAME WHAT: asked, answered, failed or worst_ms in the last line of a client that asks or talks.
tally() { sed -n "s/^# .*\\b$2=\\([0-9]*\\).*/\\1/p" "$LAB_OUT/$1.log"; }
# talks_with NODE NUMBER: it has an association with the node of that number.
talks_with() { on "$1" grep -q " 10.0.0.$2 " /proc/net/sctp/assocs || on "$1" grep -q "\*10.0.0.$2 " /proc/net/sctp/assocs; }

# Ours: our_registrar NAME NODE [FLAG..] serves ASAP over SCTP and TCP at all addresses of the node;
# our_element NAME NODE REGISTRAR-NODE POOL FLAG..
our_registrar() {
  local name=$1 node=$2; shift 2
  start "$name" "$node" "$RSERPOOL" registrar --asap "sctp://$(locator "$node"):3863" \
    --asap "tcp://${HOST[$node]}:3863" --enrp 127.0.0.1:9901 "$@"
  need within 5 "$name is ready" told "$name" 'registrar started'
}
our_element() {
  local name=$1 node=$2 registrar=$3 pool=$4; shift 4
  start "$name" "$node" "$RSERPOOL" element "$pool" --registrar "sctp://$(locator "$registrar"):3863" "$@"
}
# locator NODE: its addresses, as in 10.0.0.11,10.1.0.11.
locator() { echo "${HOST[$1]}${PATH2[$1]:+,${PATH2[$1]}}"; }

# list REGISTRAR-NODE: what `rserpool list` shows there. listed NODE POOL: identifiers, sorted.
list() { on "$1" timeout 3 "$RSERPOOL" list --json 2>>"$LAB_OUT/list.txt"; }
listed() {
  list "$1" | jq -r --arg pool "$2" '.[] | select(.pool == $pool) | .elements[].id' |
    sed 's/0x0*/0x/' | sort | paste -sd,
}
list_is() { [[ $(listed "$1" "$2") == "$3" ]]; }

# ask REGISTRAR-NODE POOL [FLAG..]: the answers that the lab's own client gets, a line each.
ask() { on observer "$LAB_TOOL" ask "${HOST[$1]}:3863" "${@:2}" 2>>"$LAB_OUT/ask.txt"; }
# members REGISTRAR-NODE POOL: identifiers of the elements in an answer, sorted, such as 0x21,0x22.
members() { ask "$1" "$2" --times 1 --patience 1000 | awk '$3 ~ /^[0-9]/ { print $4 }' | tr , '\n' | sort | paste -sd,; }
# pool_is REGISTRAR-NODE POOL IDENTIFIERS: an answer has just these elements.
pool_is() { [[ $(members "$1" "$2") == "$3" ]]; }

# suite PROGRAM THREADS: a whole test suite, on a host of its own, as it makes networks, too.
suite() {
  local code
  ip netns add tests; ip -n tests link set lo up
  SCTP_REQUIRED=1 on tests "$1" --test-threads "$2" >"$LAB_OUT/tests.txt" 2>&1
  code=$?
  cat "$LAB_OUT/tests.txt"
  at_least "tests that pass" 10 "$(sed -n 's/^test result.* \([0-9]*\) passed.*/\1/p' "$LAB_OUT/tests.txt")"
  is "tests that fail" 0 "$(sed -n 's/^test result.* \([0-9]*\) failed.*/\1/p' "$LAB_OUT/tests.txt")"
  is "they end with code" 0 "$code"
}

# ---------------------------------------------------------------- captures

# seen WHAT at-least|at-most NUMBER FILTER: how many packets of br0.pcap pass a display filter of tshark,
# which must have no comma. It is looked at when the scenario is over.
seen() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$LAB_OUT/wanted"; }
ASAP_REGISTRATION=1 ASAP_DEREGISTRATION=2 ASAP_REGISTRATION_RESPONSE=3 ASAP_DEREGISTRATION_RESPONSE=4
ASAP_HANDLE_RESOLUTION=5 ASAP_HANDLE_RESOLUTION_RESPONSE=6 ASAP_ENDPOINT_KEEP_ALIVE=7
ASAP_ENDPOINT_KEEP_ALIVE_ACK=8 ASAP_ENDPOINT_UNREACHABLE=9 ASAP_SERVER_ANNOUNCE=10
ASAP_COOKIE=11 ASAP_COOKIE_ECHO=12 ASAP_ERROR=14
# sent NODE_NUMBER MESSAGE: a filter for ASAP messages of a kind that a node sends.
sent() { echo "asap.message_type == $2 && ip.src == 10.0.0.$1"; }

# ---------------------------------------------------------------- logs

# told NAME PATTERN [TIMES]: its log has at least that many lines with the pattern, which is grep -E's.
told() { (($(times "$1" "$2") >= ${3:-1})); }
# times NAME PATTERN: how many lines of its log have the pattern.
times() {
  local lines
  lines=$(grep -acE -- "$2" "$LAB_OUT/$1.log" 2>>/dev/null)
  echo "${lines:-0}"
}

# said NAME PATTERN: when our program wrote the first line with the pattern, in microseconds since 1970.
said() {
  local line
  line=$(grep -aE -m1 -- "$2" "$LAB_OUT/$1.log") && date -d "${line%% *}" +%s%6N
}

# ---------------------------------------------------------------- beginning and end

# distrust NODE: what it sends is meant to be wrong, and its packets need not make sense.
distrust() { ip -n "$1" -4 -o addr show scope global | awk '{ sub("/.*", "", $4); print $4 }' >>"$LAB_OUT/distrusted"; }

# Heartbeats of SCTP are left out, and what hosts of LAB_SILENT do: there are many, and they are nobody's
# message.
capture() {
  local bridge host what='(sctp or udp or port 3863 or port 9901) and not (ip[9] = 132 and (ip[32] = 4 or ip[32] = 5))'
  for host in ${LAB_SILENT:-}; do what+=" and not host $host"; done
  for bridge in br0 br1; do
    tcpdump -Z root -i "$bridge" -s 0 -U -w "$LAB_OUT/$bridge.pcap" "$what" \
      </dev/null >"$LAB_OUT/tcpdump-$bridge.txt" 2>&1 &
    CAPTURES+=($!)
  done
  for bridge in br0 br1; do
    until grep -aqs 'listening on' "$LAB_OUT/tcpdump-$bridge.txt"; do pause 0.02; done
  done
}

# Waits until the last packet is in the captures: what tcpdump has not taken when it ends is lost.
end_capture() {
  local path began
  ((${#CAPTURES[@]})) || return
  for path in 0 1; do
    # To a host that is not there, so that nobody answers and no port is anybody's.
    ip neigh replace "10.$path.0.253" lladdr 02:00:00:00:00:fd dev "br$path"
    echo 'end of capture' >"/dev/udp/10.$path.0.253/9"
  done
  began=$(now)
  for path in 0 1; do
    until grep -aqs 'end of capture' "$LAB_OUT/br$path.pcap" || (($(since "$began") > 5000)); do pause 0.05; done
  done
}

finish() {
  local code=$? name
  [[ $BASHPID == "$$" ]] || exit $code
  for name in "${!PID[@]}"; do kill -TERM "${PID[$name]}" 2>>/dev/null; done
  pause 0.3
  end_capture
  for pid in "${CAPTURES[@]}"; do kill -INT "$pid"; wait "$pid"; done 2>>/dev/null
  found "the scenario came to its end" yes "$( ((code)) && echo "no: code $code" || echo yes)" $code
}

CAPTURES=()
trap finish EXIT
modprobe -a -q bridge veth sch_netem
echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts
network br0 10.0.0
network br1 10.1.0
ulimit -n 16384
[[ ${LAB_CAPTURE:-yes} == yes ]] && capture
node observer 250
