#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The stack switches keep all registers that belong to the caller: natively, and the one for
# aarch64 cross-built and run under user-mode emulation.
set -eu
src=$(cd "$(dirname "$0")/../.." && pwd)

build_and_run()
{
    local machine=$1 cc=$2 run=$3

    for optimize in -O0 -O2; do
        $cc -static $optimize -Wall -I"$src" -o "$TMPDIR/driver" \
            "$src/tests/io/switch-driver.c" "$src/io/switch-$machine.S"
        $run "$TMPDIR/driver" || { echo "not ok switch/$machine$optimize"; return; }
        echo "ok switch/$machine$optimize"
    done
}

case $(uname -m) in
x86_64 | aarch64) build_and_run "$(uname -m)" "${CC:-gcc}" "" ;;
esac
for tool in aarch64-linux-gnu-gcc qemu-aarch64-static; do
    if ! command -v $tool >/dev/null; then
        echo "skip switch/aarch64-emulated $tool is not installed"
        exit 0
    fi
done
build_and_run aarch64 aarch64-linux-gnu-gcc qemu-aarch64-static
