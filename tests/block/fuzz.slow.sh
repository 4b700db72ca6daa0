#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every parser takes 200,000 inputs of its fuzzer (an N-th with FERRY_SHARE=N) without a report. Longer: make check-fuzz FUZZ_RUNS=N
set -eu
src=$(cd "$(dirname "$0")/../.." && pwd)
command -v clang >/dev/null || { echo "clang is not installed"; exit 77; }
# Kept beside the build, so that the next run builds nothing and begins with what this one learnt.
cd "$(dirname "$FERRY_BUILD")"
exec python3 -B "$src/tests/fuzz/run" $((200000 / ${FERRY_SHARE:-1}))
