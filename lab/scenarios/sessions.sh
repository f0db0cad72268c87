#!/bin/bash
# How long sessions are without an element: killed, its host silent, hung; over SCTP and over TCP.
#: alone, seconds=240
LAB_CAPTURE=no
. "$LAB/lib.sh"

node r 11; node s1 21; node s2 22; node u 31

# The pools Sctp and Tcp have an element on each of two hosts: 0x21 and 0x22. While one of them fails all
# sessions of the pool are with it; the times are those that users write down with each answer.
serving() { lab "$1$2" "s$2" serve --registrar sctp://10.0.0.11:3863 --id "$((0x2$2))" "--$1" "10.0.0.2$2:7" "${1^}"; }
# user KIND TIMERS HOST
user() { lab "$1-$2" u converse --registrar sctp://10.0.0.11:3863 --timers "$2" --to "$((0x2$3))" "${1^}"; }
# went_on USER SINCE LOST: microseconds from the last answer of that element to the first one of another.
went_on() {
  awk -v since="$2" -v lost="$3" '$3 != 1 { next } $4 == lost { last = $1 } $1 > since && $4 != lost { print $1 - last; exit }' \
    "$LAB_OUT/$1.log"
}
both() { list_is r Sctp 0x21,0x22 && list_is r Tcp 0x21,0x22; }
declare -A TIMES=()
# noted ROW USER SINCE LOST
noted() { TIMES[$1,$2]+=" $(went_on "$2" "$3" "$4")"; }
# outage ROW USER LIMIT: the one in the middle is at most that many milliseconds.
outage() {
  local times middle
  times=($(printf '%s\n' ${TIMES[$1,$2]} | sort -n))
  middle=${times[${#times[@]} / 2]}
  at_most "$1, $2: outage of the session, of ${#times[@]}" "$(tolerated "$3")000" "$middle" us
  figure sessions "$1" "${2/-/, }, ms" "$(printf '%d.%d' $((middle / 1000)) $((middle / 100 % 10)))"
}
# Its replies are numbered through: the cookie has come along each time.
counted() {
  holds "$1: the replies to it are counted through from element to element" \
    awk '$3 == 1 { if ($5 < last) exit 1; last = $5 }' "$LAB_OUT/$1.log"
}

our_registrar registrar r
for kind in sctp tcp; do serving $kind 1; done
need within 5 "the first elements are listed" list_is r Tcp 0x21
need within 5 "both" list_is r Sctp 0x21
for kind in sctp tcp; do user $kind default 1; done
for kind in sctp tcp; do need within 5 "the user over $kind is answered" told $kind-default ' 1 0x21 '; done
for kind in sctp tcp; do serving $kind 2; done
need within 5 "the second ones are listed" both
pause 1.2

say "killed with -9"
here=1 there=2
for round in {1..7}; do
  for kind in sctp tcp; do
    since=$(now); crash $kind$here; pause 0.3
    noted "killed" $kind-default "$since" 0x2$here
    serving $kind $here
  done
  within 5 "both are back" both
  # Until users have heard of it.
  pause 1.2
  read -r here there <<<"$there $here"
done
for kind in sctp tcp; do outage "killed" $kind-default 20; done

for kind in sctp tcp; do user $kind realtime $here; done
for kind in sctp tcp; do
  need within 5 "the user in real time over $kind is answered" told $kind-realtime " 1 0x2$here "
done

# all_went_on ROW SINCE: notes the times of all users.
all_went_on() {
  for user in sctp-default tcp-default sctp-realtime tcp-realtime; do noted "$1" $user "$2" 0x2$here; done
  within 8 "all are back" both
  pause 1.2
  read -r here there <<<"$there $here"
}
say "its host silent, and hung by SIGSTOP"
for round in 1 2 3; do
  since=$(now); cut s$here; pause 1.8; mend s$here
  all_went_on "host silent" "$since"
  since=$(now); send STOP sctp$here; send STOP tcp$here; pause 1.8; send CONT sctp$here; send CONT tcp$here
  all_went_on "hung" "$since"
done
for row in "host silent" "hung"; do
  for kind in sctp tcp; do
    outage "$row" $kind-default 1500
    outage "$row" $kind-realtime 400
  done
done
for user in sctp-default tcp-default sctp-realtime tcp-realtime; do
  counted $user
  stop $user
done

say "messages a second, beside an association without a session"
lab sink s1 serve --registrar sctp://10.0.0.11:3863 --id 49 --sctp 10.0.0.21:8 --service sink Sink
lab bare s1 echo --count 10.0.0.21:9
within 5 "the sink is listed" list_is r Sink 0x31
flow() { on s1 "$LAB_TOOL" flow --registrar sctp://10.0.0.11:3863 "$@"; }
while read -r size count least; do
  shares=()
  for round in 1 2 3 4 5; do
    session=$(flow --pool Sink --size "$size" --count "$count") bare=$(flow --bare 10.0.0.21:9 --size "$size" --count "$count")
    shares+=($((100 * session / bare)))
  done
  share=$(printf '%s\n' "${shares[@]}" | sort -n | sed -n 3p)
  at_least "share of the messages of $size bytes of a bare association" $((least - ${LAB_MARGIN:-0} / 2)) "$share" %
  figure sessions "messages of $size bytes" "session, 1/s" "$session"
  figure sessions "messages of $size bytes" "association, 1/s" "$bare"
done <<<$'100 20000 80\n10000 20000 80'
