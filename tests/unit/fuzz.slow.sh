#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Each parser, 200,000 inputs, without a report.
command -v clang >/dev/null || { echo 'skip /fuzz clang is not installed'; exit 77; }
cd "$(dirname "$FERRY_BUILD")" || exit 1
exec python3 -B "$(dirname "$0")/../fuzz/run" 200000
