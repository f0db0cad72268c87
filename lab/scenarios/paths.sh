#!/bin/bash
# Two paths between registrar and elements; one is cut for 20 s. Nobody notices.
#: seconds=150
. "$LAB/lib.sh"

node r 11 2; node s1 21 2; node s2 22 2; node s3 23 2; node u 31 2

say "two elements of ours and one of the reference implementation, all with two addresses"
# The reference implementation's SCTP waits a second or more before it answers by the other path.
cat >"$LAB_OUT/registrar.toml" <<'END'
[pool."Other".timers]
keep_alive_timeout = "4s"
END
our_registrar registrar r --config "$LAB_OUT/registrar.toml"
for n in 1 2; do
  lab server$n s$n echo --tcp 0.0.0.0:7
  our_element element$n s$n r EchoPool --tcp 10.0.0.2$n:7 --id 0x2$n --drain 0s
done
rsp_server server3 s3 r -pingpong -poolhandle=Other -identifier=0x23
need within 8 "ours are listed" list_is r EchoPool 0x21,0x22
need within 8 "and the other" list_is r Other 0x23
[[ ${SCTP_ELEMENTS:-} ]] && is "ours with both addresses" "10.0.0.21:7 10.1.0.21:7" \
  "$(list r | jq -r '.[0].elements[] | select(.id | endswith("21")) | .addresses | join(" ")')"
# A second path can take over when it has been confirmed by a heartbeat.
pause 4

say "a user asks 20 times a second, for one element at a time"
lab user u ask 10.0.0.11,10.1.0.11:3863 EchoPool --items 1 --every 50
pause 5
cut r 0; say "the registrar's first path is cut"
pause 20
mend r 0; say "and restored"
pause 5
is "still all three" "0x21,0x22 0x23" "$(listed r EchoPool) $(listed r Other)"
is "none was removed" 0 "$(times registrar 'element removed')"
is "none had to register anew" 2 "$(cat "$LAB_OUT"/element?.log | grep -c ' registered')"
stop user
at_least "answers" 400 "$(tally user answered)"
is "failed questions" 0 "$(tally user failed)"
at_most "worst answer" 1500 "$(tally user worst_ms)" ms
# Round robin has given each of them in turn, before, during and after.
is "places where the order of selection changed" 0 "$(awk '
  !/^#/ { if (NR > 2 && $4 != last[NR % 2]) changed++; last[NR % 2] = $4 } END { print changed + 0 }' "$LAB_OUT/user.log")"
holds "an element has said that a path failed" told element1 'path changed.*Unreachable'
holds "and that it came back" told element1 'path changed.*Available'
