#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VHDX images, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import format_rows
from compat import Table, images

t = Table('format-vhdx')
images(t)
for size in ('1', '1G', '1025M', '100G', '101G', '33T', '64T', '65T'):
    t.row(f'block-size-of-{size}', f'qemu-img create -f vhdx x {size} && qemu-img info x && stat -c %s x',
          mask=format_rows.SPACE, files=False)
for options in ('block_size=512k', 'block_size=1G', 'block_size=3M', 'log_size=0', 'log_size=1', 'log_size=1500k',
                'log_size=5G', 'log_size=16M,block_size=32M'):
    t.row(f'sizes-{options}', f'qemu-img create -f vhdx -o {options} x 100M && qemu-img info x && stat -c %s x',
          mask=format_rows.SPACE, files=False)
t.setup('log', """
    qemu-img create -q -f vhdx -o block_size=1M a 20M
    qemu-io -f vhdx -c 'write -P 1 0 4k' -c 'write -P 2 5M 4k' -c flush a > /dev/null
    python3 - <<'END'
import struct
def crc(data, table=[]):
    if not table:
        for i in range(256):
            for _ in range(8):
                i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
            table.append(i)
    v = 0xffffffff
    for b in data:
        v = v >> 8 ^ table[(v ^ b) & 255]
    return v ^ 0xffffffff
d = bytearray(open('a', 'rb').read())
log = max(range(1 << 20, 2 << 20, 4096), key=lambda at: struct.unpack_from('<Q', d, at + 16)[0] if d[at:at + 4] == b'loge' else 0)
for at in (64 << 10, 128 << 10):
    d[at + 48:at + 64] = d[log + 32:log + 48]
    d[at + 4:at + 8] = bytes(4)
    struct.pack_into('<I', d, at + 4, crc(d[at:at + 4096]))
d[2 << 20:(2 << 20) + 64] = bytes(64)
open('a', 'wb').write(d)
END""")
t.row('log-is-replayed', """qemu-img check a; qemu-img map a; qemu-img check -r all a; qemu-img check a
    qemu-io -f vhdx -c 'read -P 2 5M 4k' a | grep -v ops""", 'log')
t.row('log-is-replayed-by-writing', """qemu-io -f vhdx -c 'read -P 2 5M 4k' -c 'write -P 3 8M 4k' a | grep -v ops
    qemu-img check a""", 'log')
t.row('backing', 'qemu-img create -q -f vhdx b 1M; qemu-img create -f vhdx -b b -F vhdx x 1M', files=False)
format_rows.main(t, 'vhdx', creates=('block_size=1M', '', 'subformat=fixed', 'block_state_zero=off'),
                 bad_creates=('subformat=x', 'block_size=3M', 'preallocation=full', 'block_state_zero=maybe'),
                 sizes=('1000', '3500k', '8E'))
