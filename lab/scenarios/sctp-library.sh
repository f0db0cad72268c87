#!/bin/bash
# The library over SCTP: all its tests that need a kernel that has it.
#: seconds=180
. "$LAB/lib.sh"

# On a host of their own: they make networks, too.
ip netns add tests; ip -n tests link set lo up
SCTP_REQUIRED=1 on tests "$LIBRARY_TESTS" --test-threads 1 >"$LAB_OUT/tests.txt" 2>&1
code=$?
cat "$LAB_OUT/tests.txt"
at_least "tests that pass" 10 "$(sed -n 's/^test result.* \([0-9]*\) passed.*/\1/p' "$LAB_OUT/tests.txt")"
is "tests that fail" 0 "$(sed -n 's/^test result.* \([0-9]*\) failed.*/\1/p' "$LAB_OUT/tests.txt")"
is "they end with code" 0 "$code"
