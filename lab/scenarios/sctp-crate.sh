#!/bin/bash
# rserpool-sctp by itself: all its tests, on a kernel that has SCTP.
#: seconds=180
. "$LAB/lib.sh"

SCTP_REQUIRED=1 "$SCTP_TESTS" --test-threads 4 >"$LAB_OUT/tests.txt" 2>&1
code=$?
cat "$LAB_OUT/tests.txt"
[[ $code == 0 ]]
found "all tests of the crate pass" "test result: ok" "$(grep -h '^test result' "$LAB_OUT/tests.txt")" $?
