#!/bin/bash
# Floods and stuck peers, all at once: crowds that are idle, that come and go, that never read.
#: alone, seconds=150, memory=1G
LAB_SILENT="10.0.0.61 10.0.0.62"
. "$LAB/lib.sh"

node r 11; node s 21; node e 22; node u 31; node x1 61; node x2 62; node x3 63

# Crowd, registrar, elements and users share one core: that alone may take time.
cat >"$LAB_OUT/registrar.toml" <<'TOML'
[timers]
keep_alive_timeout = "2s"
[pool."Large".timers]
keep_alive_interval = "2s"
[limits]
idle_timeout = "8s"
TOML
our_registrar registrar r --config "$LAB_OUT/registrar.toml"
rsp_server server s r -echo -identifier=0x21
lab large e load Large --at 10.0.0.11:3863 --under-way 8 register --elements 200 --stay
need within 5 "a server is listed" list_is r EchoPool 0x21
need within 10 "and a large pool" told large '^[0-9]+$'
before=$(rss registrar)
lab user u ask 10.0.0.11:3863 EchoPool --every 20

say "2000 associations that say nothing"
lab idle x1 crowd 10.0.0.11:3863 idle --count 2000
need within 40 "are opened" told idle 'opened 2000'
say "200 more each second, closed at once, and 100 that ask for much and never read"
lab passing x2 crowd 10.0.0.11:3863 passing --rate 200 --seconds 5
lab deaf x3 crowd 10.0.0.11:3863 deaf --count 100 --pool Large
within 20 "those that pass by have passed" told passing 'passed [0-9]+ refused 0'
within 30 "those that are idle are closed after their time" told idle 'left 0$'
within 30 "those that never read are aborted" told deaf 'left 0$'
stop user
is "questions that failed meanwhile" 0 "$(tally user failed)"
at_most "worst answer" 1500 "$(tally user worst_ms)" ms
is "the server is listed as before" 0x21 "$(listed r EchoPool)"
is "and the large pool" 200 "$(list r | jq '.[] | select(.pool == "Large") | .elements | length')"
at_most "growth of the registrar's memory" 32768 $(($(rss registrar) - before)) KiB
