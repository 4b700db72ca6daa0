#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-nbd -c and -d with the kernel's own module: by netlink and by ioctl, with partitions."""
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import emulated_host

BUILD = pathlib.Path(os.environ.get('FERRY_BUILD', 'build')).resolve()
TIMEOUT = 900

# Each step prints a line "STEP RESULT"; the results are below.
SCRIPT = r'''
PATH=BUILD:$PATH
size() { cat /sys/block/nbd0/size; }
gone() { for i in $(seq 100); do [ $(size) = 0 ] && pgrep -x qemu-nbd >/dev/null || break; sleep 0.1; done; }
parts() { for i in $(seq 50); do [ -e /sys/block/nbd0/nbd0p1 ] && break; sleep 0.1; done
          ls /sys/block/nbd0 | grep -c nbd0p; }
table() { python3 - <<EOF
import struct
entry = lambda at, n: struct.pack('<B3sB3sII', 0, b'', 0x83, b'', at, n)
with open('/dev/nbd0', 'r+b') as d:
    d.seek(446)
    d.write(entry(2048, 32768) + entry(34816, 32768) + bytes(32) + b'\x55\xaa')
EOF
}
mkdir -p /tmp/mnt
cycle() {   # $1: what runs qemu-nbd
    qemu-img create -q -f qcow2 $1.qcow2 64M
    $2 qemu-nbd -c /dev/nbd0 -f qcow2 $1.qcow2; echo $1-attach $?
    echo $1-size $(size)
    table; blockdev --rereadpt /dev/nbd0; echo $1-partitions $(parts)
    dd if=/dev/urandom of=random bs=1M count=12 2>/dev/null
    dd if=random of=/dev/nbd0p1 bs=64k conv=fsync 2>/dev/null; echo $1-write $?
    cmp -n 12582912 random /dev/nbd0p1; echo $1-read $?
    qemu-img create -q -f raw other 1M
    $2 qemu-nbd -c /dev/nbd0 -f raw other 2>/dev/null; echo $1-busy $?
    cmp -n 12582912 random /dev/nbd0p1; echo $1-still-there $?
    $2 qemu-nbd -d /dev/nbd0 >said; echo $1-detach $? $(cat said)
    gone; echo $1-size-after $(size); pgrep -x qemu-nbd >/dev/null; echo $1-ended $?
    $2 qemu-nbd -c /dev/nbd0 -r -f qcow2 $1.qcow2; echo $1-read-only $? $(cat /sys/block/nbd0/ro)
    echo $1-partitions-again $(parts)
    cmp -n 12582912 random /dev/nbd0p1; echo $1-read-again $?
    pkill -TERM -x qemu-nbd; gone; echo $1-killed $(size)
    qemu-img check -q $1.qcow2; echo $1-check $?
}
cycle netlink
cycle ioctl 'unshare -n'
'''

RESULTS = {
    'attach': '0', 'size': '131072', 'partitions': '2', 'write': '0', 'read': '0', 'busy': '1',
    'still-there': '0', 'detach': '0 /dev/nbd0 disconnected', 'size-after': '0', 'ended': '1',
    'read-only': '0 1', 'partitions-again': '2', 'read-again': '0', 'killed': '0', 'check': '0',
}


def main():
    code, output = emulated_host.run(SCRIPT.replace('BUILD', str(BUILD)), {'nbd': 'max_part=8'}, TIMEOUT)
    seen = dict(re.findall(r'^((?:netlink|ioctl)-\S+) (.*)$', output, re.M))
    failed = False
    for way in 'netlink', 'ioctl':
        for step, wanted in RESULTS.items():
            name, got = f'{way}-{step}', seen.get(f'{way}-{step}')
            failed |= got != wanted
            print(f'ok {name}' if got == wanted else f'not ok {name} {got!r}, not {wanted!r}')
    if failed:
        print(f'exit code {code}\n{output}')


if __name__ == '__main__':
    main()
