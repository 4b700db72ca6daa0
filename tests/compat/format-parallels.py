#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Parallels images, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import format_rows
from compat import Table, images

t = Table('format-parallels')
images(t)
t.row('parallels-create-too-large', 'qemu-img create -f parallels x 5000T', files=False)
t.setup('damaged', r"""
    qemu-img create -q -f parallels good 10M
    qemu-io -c 'write -P 1 100k 3k' -c 'write -P 2 5M 512' -c 'write -P 3 1M 8k' -c 'write -P 4 6M 2M' good >/dev/null
    python3 - <<'END'
import struct
good = open('good', 'rb').read()
def make(name, *edits, more=b'', end=None):
    image = (bytearray(good) + more)[:end]
    for off, fmt, *value in edits:
        struct.pack_into(fmt, image, off, *value)
    open(name, 'wb').write(image)
make('in-use', (44, '<I', 0x746F6E59))
make('leak', more=bytes(1 << 20))
make('small-leak', more=bytes(100))
make('far', (68, '<I', 8))
make('far-in-use', (68, '<I', 9), (44, '<I', 0x746F6E59))
make('cut', end=-(1 << 19))
make('old', (0, '16s', b'WithoutFreeSpace'),
     (64, '<10I', *[x * 2048 for x in struct.unpack_from('<10I', good, 64)]))
make('old-large', (0, '16s', b'WithoutFreeSpace'), (40, '<I', 1),
     (64, '<10I', *[x * 2048 for x in struct.unpack_from('<10I', good, 64)]))
END""")
slow = '.slow.' in sys.argv[0]
for name in 'in-use leak small-leak far far-in-use cut old old-large'.split() if slow else ('in-use', 'leak', 'old'):
    for args in ('', '--output=json', '-r all', '-r all --output=json') if slow else ('', '-r all'):
        t.row(f'parallels-check-{name}-{args}', f'qemu-img check {args} {name}', 'damaged')
    t.row(f'parallels-info-{name}', f'qemu-img info --output=json {name}; qemu-img map --output=json {name}', 'damaged',
          mask=format_rows.SPACE)
t.row('parallels-write-old', "qemu-io -c 'write -P 7 2M 3M' -c 'write -P 8 9M 1M' old | grep -v ops", 'damaged')
format_rows.main(t, 'parallels', creates=('', 'cluster_size=4k', 'cluster_size=1000', 'cluster_size=32256',
                                          'cluster_size=3M', 'preallocation=falloc'),
                 bad_creates=('cluster_size=2G', 'preallocation=metadata', 'cluster_size=x'),
                 sizes=('1000', '3500k', '0', '1', '129M', '8E'))
