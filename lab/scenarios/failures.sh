#!/bin/bash
# How long it takes: elements killed, silent, hung; until the registrar forgets them, until users go on.
#: alone, seconds=300
LAB_CAPTURE=no
. "$LAB/lib.sh"

# What a client that asks or talks has written since a moment, in microseconds.
lines_since() { awk -v since="$2" '!/^#/ && $1 >= since' "$LAB_OUT/$1.log"; }
# forgotten WATCHER IDENTIFIER SINCE: milliseconds until the last answer that has it.
forgotten() { lines_since "$1" "$3" | awk -v id="$2" -v since="$3" '$4 ~ "(^|,)" id "(,|$)" { last = $1 } END { printf "%d", last ? (last - since) / 1000 + 1 : 0 }'; }
# outage USER SINCE: milliseconds of its longest time without an answer since then.
outage() {
  lines_since "$1" "$2" | awk -v last="$2" '$3 == 1 { if ($1 - last > worst) worst = $1 - last; last = $1 }
    END { printf "%d", worst / 1000 + 0.5 }'
}

node r 11; node s1 21; node s2 22; node p 31; node u 32
# With two addresses, and two paths in between.
node r2 12 2; node s3 23 2

median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

# Ours, with all defaults: two elements that serve echoes, the proxy, and a client of it. The first
# element is the one that will fail: begin_ours REGISTRAR-NODE ELEMENT-NODE.
begin_ours() {
  local r=$1 first=$2 registrar
  registrar=sctp://$(locator "$r"):3863
  our_registrar registrar "$r"
  echoing element1 "$first" "$registrar" 33
  echoing element2 s2 "$registrar" 34
  need within 5 "both are listed" list_is "$r" Pool 0x21,0x22
  start proxy p "$RSERPOOL" proxy Pool --registrar "$registrar" --listen 0.0.0.0:8000 --drain 3s
  need within 5 "the proxy serves" told proxy serving
  lab watcher observer ask "${HOST[$r]}:3863" Pool --every 2
  # Like any client of a server that hangs it has to give up by itself what it has asked for.
  lab user u talk 10.0.0.31:8000 --every 5 --patience 1000
  pause 3
}
echoing() { lab "$1" "$2" element --registrar "$3" --tcp "${HOST[$2]}:7" --id "$4" Pool; }
end_ours() {
  local row=$1 since=$2 lost=$3
  FORGOT=$(forgotten watcher 0x21 "$since") OUT=$(outage user "$since")
  leave_ours "$row" "$lost"
}
# At most what was under way with the one that failed is lost: so many lines.
leave_ours() {
  local row=$1 lost=$2
  stop user; stop watcher; stop proxy
  figure failures "$row" "ours: registrar forgets, ms" "$FORGOT"
  figure failures "$row" "ours: user goes on, ms" "$OUT"
  at_most "$row: lines of the user that failed" "$lost" "$(tally user failed)"
  for name in element1 element2; do [[ ${PID[$name]:-} ]] && crash $name; done
  stop registrar
}

# The reference implementation's, with all defaults: ping-pong servers, and its user.
begin_theirs() {
  rsp_registrar registrar r -loglevel=5
  ponging 1; ponging 2
  need within 8 "both are in the pool" pool_is r PingPongPool 0x21,0x22
  lab watcher observer ask 10.0.0.11:3863 PingPongPool --every 2
  start user u stdbuf -oL pingpongclient $RSP_LOG -registrar=10.0.0.11:3863 -asapannounce=off -interval=5
  within 5 "the user is answered" told user 'Ack #100 '
  active=server1 id=0x21; talks_with u 22 && active=server2 id=0x22
}
ponging() {
  start "server$1" "s$1" stdbuf -oL rspserver $RSP_LOG -registrar=10.0.0.11:3863 -asapannounce=off -pingpong "-identifier=0x2$1"
}
# Its user writes the time of day with each answer: the longest time without one since then.
user_wait() {
  awk -v since="$1" -v end="$2" '
    function seconds(us) { return (us / 1e6) % 86400 }
    BEGIN { last = since = seconds(since) }
    /Ack #/ { match($0, /[0-9]+:[0-9]+:[0-9.]+/); split(substr($0, RSTART, RLENGTH), t, ":")
      now = t[1] * 3600 + t[2] * 60 + t[3]; if (now > since && now - last > worst) worst = now - last; if (now > last) last = now }
    END { if (seconds(end) - last > 5) print "never"; else printf "%d", worst * 1000 + 0.5 }' "$LAB_OUT/user.log"
}
end_theirs() {
  local row=$1 since=$2
  OUT=$(user_wait "$since" "$(now)") FORGOT=$(forgotten watcher $id "$since")
  leave_theirs "$row"
}
leave_theirs() {
  local row=$1
  stop user INT; stop watcher
  figure failures "$row" "reference: registrar forgets, ms" "$FORGOT"
  figure failures "$row" "reference: user goes on, ms" "$OUT"
  for name in server1 server2; do [[ ${PID[$name]:-} ]] && crash $name; done
  stop registrar INT
}

say "killed with -9, five times each: the one in the middle counts, as these are times of the scheduler, too"
begin_theirs
forgot=() out=()
for round in {1..5}; do
  since=$(now); crash $active; pause 1
  forgot+=("$(forgotten watcher $id "$since")") out+=("$(user_wait "$since" "$(now)")")
  ponging "${active#server}"
  within 5 "and it is back" pool_is r PingPongPool 0x21,0x22
  if [[ $active == server1 ]]; then active=server2 id=0x22; else active=server1 id=0x21; fi
done
FORGOT=$(median "${forgot[@]}") OUT=$(median "${out[@]}")
leave_theirs "killed"
their_forgot=$FORGOT their_out=$OUT
begin_ours r s1
forgot=() out=()
for round in {1..5}; do
  since=$(now); crash element1; pause 1
  forgot+=("$(forgotten watcher 0x21 "$since")") out+=("$(outage user "$since")")
  echoing element1 s1 sctp://10.0.0.11:3863 33
  within 5 "and it is back" list_is r Pool 0x21,0x22
  # Until the proxy has heard of it.
  pause 1.2
done
FORGOT=$(median "${forgot[@]}") OUT=$(median "${out[@]}")
leave_ours "killed" 5
# No slower than the reference implementation; a figure of some milliseconds is that of the scheduler, too.
at_most "killed: the registrar forgets it" "$(tolerated $((their_forgot + 10)))" "$FORGOT" ms
at_most "killed: the user goes on" "$(tolerated $((their_out + 10)))" "$OUT" ms

say "its host silent"
begin_ours r s1
since=$(now); cut s1; pause 5
end_ours "host silent" "$since" 1
mend s1
at_most "silent: the registrar forgets it" "$(tolerated 1200)" "$FORGOT" ms
at_most "silent: the user goes on" "$(tolerated 1500)" "$OUT" ms
begin_ours r2 s3
since=$(now); cut s3 0; cut s3 1; pause 5
end_ours "host of two paths silent" "$since" 1
mend s3 0; mend s3 1
at_most "silent by both paths: the registrar forgets it" "$(tolerated 1200)" "$FORGOT" ms
at_most "silent by both paths: the user goes on" "$(tolerated 1500)" "$OUT" ms

say "hung, by SIGSTOP"
begin_ours r s1
since=$(now); send STOP element1; pause 5
end_ours "hung" "$since" 2
at_most "hung: the registrar forgets it" "$(tolerated 1200)" "$FORGOT" ms
at_most "hung: the user goes on" "$(tolerated 1500)" "$OUT" ms

[[ ${LAB_FULL:-no} == yes ]] || exit 0
say "the reference implementation: its host silent"
begin_theirs
node=s${active#server}
since=$(now); cut "$node"; pause 45
end_theirs "host silent" "$since"
mend "$node"
say "and hung"
begin_theirs
since=$(now); send STOP $active; pause 45
end_theirs "hung" "$since"
