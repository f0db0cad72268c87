#!/bin/bash
# rserpool-sctp by itself: all its tests, on a kernel that has SCTP.
#: seconds=180
. "$LAB/lib.sh"

suite "$SCTP_TESTS" 4
