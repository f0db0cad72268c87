#!/bin/bash
# Elements and users of both kinds in one pool, by every policy that both have, at both registrars.
#: seconds=180
. "$LAB/lib.sh"

node r1 11; node r2 12; node theirs 21; node ours 22; node u 31

# Policy as each says it; the reference implementation's element is the first, 0x21, ours the second, 0x22.
policies() { sed '/^$/d' <<'END'
RoundRobin            round-robin                            half
WeightedRoundRobin:1  weighted-round-robin,weight=3          three-quarters
Random                random                                 some
WeightedRandom:1      weighted-random,weight=3               most
Priority:1            priority,priority=2                    all
LeastUsed             least-used,load=2000000000             none
LeastUsedDegradation:0.1  least-used-degradation,degradation=429496729   about-half
PriorityLeastUsed:0.2 priority-least-used,degradation=429496729          all
RandomizedLeastUsed   randomized-least-used                  some
END
}

# Answers of one element that name ours, of forty. By loads ours chooses a new element rarely at first.
share() {
  ask "$1" "$2" --items 1 --every 1 --times 60 >/dev/null
  ask "$1" "$2" --items 1 --every 5 --times 40 | grep -c ' 1 0x22$'
}
expected() {
  case $1 in
    # Each registration anew sets its degradation back.
    about-half) echo 12 28 ;;
    none) echo 0 0 ;; half) echo 20 20 ;; three-quarters) echo 30 30 ;; all) echo 40 40 ;;
    # Drawn: less than one chance in a million to be outside.
    some) echo 6 34 ;; most) echo 17 39 ;;
  esac
}

at() {
  local registrar=$1 who=$2 theirs our share pools=() names=()
  while read -r theirs our share; do
    pools+=("${theirs%:*}=$our") names+=("${theirs%:*}")
    rsp_server "server-${theirs%:*}" theirs "$registrar" -echo "-poolhandle=${theirs%:*}" "-policy=$theirs" \
      -identifier=0x21
  done < <(policies)
  lab element ours element --registrar "sctp://${HOST[$registrar]}:3863" --sctp 10.0.0.22:7 --id 34 "${pools[@]}"
  need within 10 "at $who ours has joined all pools" told element 'registered' "${#pools[@]}"
  while read -r theirs our share; do
    local pool=${theirs%:*} low high
    within 5 "at $who both are in the pool by $pool" pool_is "$registrar" "$pool" 0x21,0x22
    read -r low high < <(expected "$share")
    got=$(share "$registrar" "$pool")
    ((got >= low && got <= high))
    found "of 40 answers by $pool ours is in" "$low to $high" "$got" $?
  done < <(policies)

  say "users of both kinds at $who"
  is "rserpool resolve gets both" 2 \
    "$(on u "$RSERPOOL" resolve Random --registrar "sctp://${HOST[$registrar]}:3863" --items 2 --json | jq '.elements | length')"
  rsp_terminal user-all u "$registrar" Priority
  within 5 "its user is answered by ours, which has the higher priority" told user-all 'line 5'
  is "indeed" yes "$(talks_with u 22 && echo yes || echo no)"
  crash element
  within 3 "ours is killed, and gone" pool_is "$registrar" Priority 0x21
  within 5 "its user goes on with the other" talks_with u 21
  stop user-all INT
  for name in "${names[@]}"; do stop "server-$name" INT; done
}

our_registrar ours r1
at r1 ours
stop ours
rsp_registrar theirs r2
at r2 theirs
