#!/bin/bash
# Slow and uneven links for a minute: nobody living is removed, and a dead one is still found.
#: seconds=180
. "$LAB/lib.sh"

node r 11; node fast 21; node slow1 22; node slow2 23; node slow3 24; node u1 31; node u2 32

say "300 ms +-100 ms each way, 1 % loss: three elements and a user; another of each close by"
for n in slow1 slow2 slow3 u2; do shape $n delay 300ms 100ms loss 1%; done
our_registrar registrar r
lab server1 fast echo --tcp 10.0.0.21:7
our_element element1 fast r EchoPool --tcp 10.0.0.21:7 --id 0x21 --drain 0s
for n in 2 3; do
  lab server$n slow$((n - 1)) echo --tcp 10.0.0.2$n:7
  our_element element$n slow$((n - 1)) r EchoPool --tcp 10.0.0.2$n:7 --id 0x2$n --drain 0s
done
need within 15 "all three of ours are listed" list_is r EchoPool 0x21,0x22,0x23
# It aborts an association on which an answer takes 3 s: the less it asks, the less it does so.
rsp_server server4 slow3 r -pingpong -identifier=0x24 -rereginterval=5000
need within 15 "and the server of the reference implementation" list_is r PingPongPool 0x24

# An element's first answer may be too late, before it is known how slow it is; then it comes back.
pause 8
flapped=$(times registrar 'element removed')

say "a minute of questions from both sides"
lab near u1 ask 10.0.0.11:3863 EchoPool --every 100
lab far u2 ask 10.0.0.11:3863 EchoPool --every 100 --patience 5000
pause 60
is "elements removed" 0 "$(($(times registrar 'element removed') - flapped))"
is "still listed" "0x21,0x22,0x23 0x24" "$(listed r EchoPool) $(listed r PingPongPool)"
stop near; stop far
is "questions of the near user that failed" 0 "$(tally near failed)"
is "questions of the far user that failed" 0 "$(tally far failed)"
at_least "answers to the far user" 40 "$(tally far answered)"

say "one of the slow hosts falls silent"
began=$(now); cut slow1
within "$(tolerated 4)" "it is found, slow as it was" list_is r EchoPool 0x21,0x23
is "nobody else" "0x24" "$(listed r PingPongPool)"
