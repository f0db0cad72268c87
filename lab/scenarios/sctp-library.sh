#!/bin/bash
# The library over SCTP: all its tests that need a kernel that has it.
#: seconds=180
. "$LAB/lib.sh"

suite "$LIBRARY_TESTS" 1
