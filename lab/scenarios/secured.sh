#!/bin/bash
# A secured scope over SCTP: a takeover, certificates and their authority are renewed, and impostors of each role.
#: seconds=300
. "$LAB/lib.sh"

node r1 11 2; node r2 12 2; node r3 13 2; node s1 21 2; node s2 22 2; node x 66
# What is sealed is nothing for tshark; what it takes for messages is looked at below.
for name in r1 r2 r3 s1 s2 x observer; do distrust $name; done

# Certificates of a scope in a folder: scope FOLDER.
pki() { "$RSERPOOL" pki "$@" >>"$LAB_OUT/pki.txt" 2>&1; }
NAMES=(registrar1 registrar2 registrar3 elements1 elements2 user)
scope() {
  local number
  pki init --scope lab --dir "$1"
  for number in 1 2 3; do pki issue registrar --name "registrar$number" --dir "$1"; done
  # Two owners.
  pki issue element --pool 'P*' --name elements1 --dir "$1"
  pki issue element --pool 'second' --pool 'P*' --name elements2 --dir "$1"
  pki issue element --pool 'Q*' --name others --dir "$1"
  pki issue user --dir "$1"
  pki issue operator --dir "$1"
}
GOOD=$LAB_OUT/pki STRANGE=$LAB_OUT/strange NEW=$LAB_OUT/new OLD=$LAB_OUT/old
for folder in "$GOOD" "$STRANGE" "$NEW"; do scope "$folder"; done
cp -r "$GOOD" "$OLD"

# registrar NUMBER; elements NUMBER, one each of fifty pools.
registrar() {
  local number=$1 other peers=()
  for other in 1 2 3; do [[ $other == "$number" ]] || peers+=(--peer "sctp://$(locator "r$other"):9901"); done
  our_registrar "registrar$number" "r$number" --enrp "sctp://$(locator "r$number"):9901" --id "0x1$number" \
    --tls-cert "$GOOD/registrar$number.pem" "${peers[@]}"
}
ALL=(); for n in 1 2 3; do ALL+=(--registrar "sctp://$(locator r$n):3863"); done
elements() {
  local number=$1 name pools=()
  for name in {1..50}; do pools+=("P$name"); done
  lab "elements$number" "s$number" element --tls-cert "$GOOD/elements$number.pem" "${ALL[@]}" \
    --sctp "$(locator "s$number"):7" --id $((32 + number)) "${pools[@]}"
}
user() { lab "$1" observer resolve P1 --tls-cert "$GOOD/user.pem" "${@:2}"; }
list() { on "$1" timeout 3 "$RSERPOOL" list --tls-cert "$GOOD/operator.pem" --json 2>>"$LAB_OUT/list.txt"; }
has() { [[ $(list "r$1" | jq '[.[].elements[]] | length') == "$2" ]]; }
handlespace() { list "r$1" | jq -c 'map({pool, ids: [.elements[].id] | sort}) | sort'; }
equal() { local all; all=$(for n in "$@"; do handlespace "$n"; done | sort -u | wc -l); ((all == 1)); }
homed_elsewhere() { [[ $(list "r$1" | jq -r '.[].elements[].home' | sort -u | paste -sd,) != *0x*1"$2"* ]]; }
registrars() {
  on r2 timeout 5 "$RSERPOOL" registrars --tls-cert "$GOOD/operator.pem" --json 2>>"$LAB_OUT/list.txt" |
    jq -r '.[].server' | sed 's/0x0*/0x/' | sort | paste -sd,
}
# The longest time in which a user has had no answer, and answers that did not hold both elements.
outage() {
  awk '!/^#/ && $3 ~ /^[0-9]/ { if (last && $1 - last > worst) worst = $1 - last; last = $1 }
    END { printf "%d", worst / 1000 }' "$LAB_OUT/$1.log"
}
short() { awk '!/^#/ && $3 ~ /^[0-9]/ && $3 != 2' "$LAB_OUT/$1.log" | wc -l; }

say "three registrars, a hundred elements, and users"
for n in 1 2 3; do registrar $n; done
for n in 1 2; do elements $n; done
for n in 1 2 3; do need within 30 "registrar $n has a hundred elements" has $n 100; done
is "they know each other" 0x11,0x12,0x13 "$(registrars)"
# One of each registrar, and one that knows all, the one that is killed first.
for n in 2 3; do user user$n --registrar "sctp://$(locator r$n):3863"; done
user anywhere "${ALL[@]}"

say "paths are cut: of one host of elements the first, of the other one the second"
pause 3
cut s1; cut s2 1
throughout 4 "nothing is lost" has 3 100
mend s1; mend s2 1

say "a registrar is killed"
crash registrar1
throughout 3 "nothing is lost at the second" has 2 100
within 5 "all have another home" homed_elsewhere 2 1
within 15 "the two are equal" equal 2 3
registrar 1
within 10 "it is back with all of them" has 1 100
is "and among the others" 0x11,0x12,0x13 "$(registrars)"

# renewed WHAT: who runs has taken it up, without a restart.
declare -A read_anew=()
about_to_renew() { local n; for n in 1 2 3; do read_anew[$n]=$(times registrar$n 'certificates were read anew'); done; }
renewed() {
  local n
  for n in 1 2 3; do
    within 15 "registrar $n has taken up $1" told registrar$n 'certificates were read anew' $((read_anew[$n] + 1))
  done
}
say "certificates are renewed, then their authority"
about_to_renew
for name in "${NAMES[@]}"; do pki renew "$name" --dir "$GOOD"; done
renewed "its new certificate"
about_to_renew
cat "$NEW/ca.pem" >>"$GOOD/ca.pem"
renewed "the new authority beside the old one"
about_to_renew
for name in "${NAMES[@]}" operator; do cp "$NEW/$name.key" "$NEW/$name.pem" "$GOOD"; done
renewed "a certificate of the new one"
about_to_renew
cp "$NEW/ca.pem" "$GOOD/ca.pem"
renewed "that the old one is none any more"
for n in 1 2 3; do holds "registrar $n has all that it had" has $n 100; done

say "one that says it is a registrar: of another authority, of the old one, with another role, without TLS"
false_registrar() {
  local name=$1 port=$2; shift 2
  start "$name" x "$RSERPOOL" registrar --id "0x$port" --asap "sctp://10.0.0.66:$port" --enrp "sctp://10.0.0.66:1$port" \
    --peer "sctp://$(locator r1):9901" --peer "sctp://$(locator r2):9901" "$@"
}
false_registrar stranger 3001 --tls-cert "$STRANGE/registrar1.pem"
false_registrar outdated 3002 --tls-cert "$OLD/registrar1.pem"
false_registrar wrong-role 3003 --tls-cert "$NEW/elements1.pem"
false_registrar open 3004
lab forger x peer --local 10.0.0.66:9901 --that forges 10.0.0.11:9901 10.0.0.12:9901
impostors=(); for port in 3001 3002 3003 3004; do impostors+=(--registrar "sctp://10.0.0.66:$port"); done
# They are tried before and besides the others.
lab late s1 element --tls-cert "$GOOD/elements1.pem" "${impostors[@]}" "${ALL[@]}" --sctp 10.0.0.21:8 --id 48 Plate
user careful "${impostors[@]}" --registrar "sctp://$(locator r3):3863"
within 20 "an element that is led astray comes to the right ones" list_is r2 Plate 0x30
for port in 3001 3002 3003 3004; do
  lab "led-$port" s2 element --tls-cert "$GOOD/elements2.pem" --registrar "sctp://10.0.0.66:$port" \
    --sctp "10.0.0.22:$port" --id 49 Pled
  user "lost-$port" --registrar "sctp://10.0.0.66:$port" --times 2
done
pause 8
is "registrars that are taken for one" 0x11,0x12,0x13 "$(registrars)"
for n in 1 2 3; do holds "registrar $n has what it had, and the one that came" has $n 101; done
for port in 3001 3002 3003 3004; do
  is "elements that trust the one at $port" 0 "$(times "led-$port" registered)"
  is "users that do" 0 "$(times "lost-$port" '^[0-9]* [0-9.]* [0-9]')"
  stop "led-$port" KILL
done
for name in stranger outdated wrong-role open forger; do stop $name; done
stop careful
at_least "answers of the right one to a user who asks them all" 10 "$(tally careful answered)"
is "and of none else" 0 "$(short careful)"

say "one that says it is an element: the same, one of other pools, and one of somebody else's"
false_element() { lab "$1" x element "${ALL[@]}" --sctp "10.0.0.66:$2" --id "$3" "${@:4}"; }
false_element e-stranger 7 64 --tls-cert "$STRANGE/elements1.pem" P1
false_element e-outdated 8 65 --tls-cert "$OLD/elements1.pem" P1
false_element e-user 9 66 --tls-cert "$NEW/user.pem" P1
false_element e-others 10 67 --tls-cert "$NEW/others.pem" P1
false_element e-open 11 68 P1
# The second's certificate is good for the pool, and the first's element is not its own.
false_element e-thief 12 33 --tls-cert "$NEW/elements2.pem" P1
pause 5
for name in stranger outdated user others open thief; do
  is "registrations as e-$name" 0 "$(times "e-$name" registered)"
  stop "e-$name" KILL
done
for n in 1 2 3; do holds "registrar $n has both of the pool and nobody else" list_is r$n P1 0x21,0x22; done

say "one that says it is a user: the same, and one that reads the tables"
for name in stranger outdated open; do
  flags=()
  [[ $name == stranger ]] && flags=(--tls-cert "$STRANGE/user.pem")
  [[ $name == outdated ]] && flags=(--tls-cert "$OLD/user.pem")
  on x "$LAB_TOOL" resolve P1 "${ALL[@]}" "${flags[@]}" --times 3 >"$LAB_OUT/u-$name.log" 2>&1
  is "questions that u-$name has asked" 3 "$(tally "u-$name" asked)"
  is "and had answered" 0 "$(tally "u-$name" answered)"
done
for flags in "--tls-cert $NEW/user.pem" "--tls-cert $STRANGE/operator.pem" ""; do
  # shellcheck disable=SC2086
  table=$(on r1 timeout 5 "$RSERPOOL" list $flags --json 2>>"$LAB_OUT/list.txt" | jq length 2>>"$LAB_OUT/list.txt")
  is "tables read by: rserpool list ${flags//$LAB_OUT\//}" "" "$table"
done

say "and with all that is new a registrar is killed once more"
crash registrar3
throughout 3 "nothing is lost at the second" has 2 101
within 5 "all have another home" homed_elsewhere 2 3
within 15 "the two are equal" equal 1 2
stop user3; stop user2; stop anywhere
at_most "longest time without an answer of registrar 2" "$(tolerated 1000)" "$(outage user2)" ms
at_most "the same for a user who knows all" "$(tolerated 1000)" "$(outage anywhere)" ms
for name in user2 user3 anywhere; do is "answers to $name without one of the two elements" 0 "$(short $name)"; done
is "questions of user2 without an answer" 0 "$(tally user2 failed)"
for n in 1 2; do is "elements that registrar $n has removed" 0 "$(times registrar$n 'element removed')"; done
kind() { echo "($1.message_type $2) && !(ip.addr == 10.0.0.66)"; }
for protocol in asap enrp; do
  seen "sealed messages of ${protocol^^}" at-least 100 "$(kind $protocol '== 23')"
  seen "messages of ${protocol^^} in clear" at-most 0 "$(kind $protocol '< 20')"
done
