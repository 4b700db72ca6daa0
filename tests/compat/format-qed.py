#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QED images, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import format_rows
from compat import Table, images

t = Table('format-qed')
images(t)
t.row('qed-create-largest', 'qemu-img create -f qed x 64T && qemu-img info x', mask=format_rows.SPACE)
t.row('qed-create-too-large', 'qemu-img create -f qed x 65T', files=False)
t.setup('damaged', r"""
    qemu-img create -q -f qed -o cluster_size=4k,table_size=2 good 10M
    qemu-io -c 'write -P 1 100k 3k' -c 'write -z 5M 64k' -c 'write -P 2 5M 512' -c 'write -P 3 2M 8k' good >/dev/null
    python3 - <<'END'
import struct
good = open('good', 'rb').read()
l1 = struct.unpack_from('<1024Q', good, 4096)
l2 = next(x for x in l1 if x)
at = 8 * next(i for i, x in enumerate(struct.unpack_from('<1024Q', good, l2)) if x > 1) + l2
entry = struct.unpack_from('<Q', good, at)[0]
def make(name, *edits, more=b''):
    image = bytearray(good) + more
    for off, value in edits:
        struct.pack_into('<Q', image, off, value)
    open(name, 'wb').write(image)
make('dirty', (16, 2))
make('leak', more=bytes(8192))
make('leak-dirty', (16, 2), more=bytes(8192))
make('odd-end', more=bytes(100))
make('double', (at + 8, entry))
make('far', (at + 8, 1 << 40))
make('unaligned', (at + 8, entry + 512))
make('two', (at + 8, 2))
make('at-the-end', (at + 8, len(good)))
make('l1-far', (4096 + 8, 1 << 40))
make('l1-double', (4096 + 8, l1[0]))
make('l1-unaligned', (4096 + 8, 4097))
make('l1-itself', (4096 + 8, 4096))
make('data-in-l1', (at + 8, 4096))
END""")
damages = ('dirty leak leak-dirty odd-end double far unaligned two at-the-end l1-far l1-double l1-unaligned l1-itself '
           'data-in-l1').split()
slow = '.slow.' in sys.argv[0]
for name in damages if slow else damages[:8:3]:
    for args in ('', '--output=json', '-r leaks', '-r all', '-r all --output=json') if slow else ('', '-r all'):
        t.row(f'qed-check-{name}-{args}', f'qemu-img check {args} {name}', 'damaged')
    # The reference's info does not tell that an image was not closed.
    if slow and 'dirty' not in name:
        t.row(f'qed-info-{name}', f'qemu-img info --output=json {name}', 'damaged', mask=format_rows.SPACE)
    if slow:
        t.row(f'qed-map-{name}', f'qemu-img map -f qed {name}', 'damaged')
t.setup('chain', """
    qemu-img create -q -f qed -b r -F raw top 2M
    qemu-io -c 'write -P 1 3k 300k' -c 'write -z 1M 128k' top >/dev/null
    qemu-img create -q -f qed -b top -F qed above 3M
""", 'raw')
for command in ('info top', 'info --output=json above', 'map --output=json top', 'map --output=json above',
                'rebase -u -b zero -F raw top', 'rebase -u -b x -F qcow2 above', 'rebase -u -b "" top',
                'rebase -b zero -F raw top', 'rebase -b "" top', 'commit top', 'convert -O raw above out',
                'resize top 10M', 'resize top 64T', 'resize top 65T', 'resize --shrink top 1M',
                'create -f qed -b r -F raw x', 'create -f qed -b r -F raw x 512k'):
    if slow or command in ('info top', 'map --output=json above', 'rebase -u -b "" top', 'commit top', 'resize top 64T'):
        t.row(f'qed-{command}', f'qemu-img {command} && qemu-img info --backing-chain --output=json above', 'chain',
              mask=format_rows.SPACE)
t.row('qed-write-over-backing', "qemu-io -c 'write -P 7 60k 5k' -c 'write -P 8 1M 64k' -c 'write -P 9 1900k 64k' top "
      '| grep -v ops; qemu-img map --output=json top', 'chain')
format_rows.main(t, 'qed', creates=('', 'cluster_size=4k,table_size=2', 'cluster_size=1M,table_size=2', 'preallocation=falloc'),
                 bad_creates=('cluster_size=4095', 'cluster_size=2k', 'cluster_size=128M', 'table_size=3', 'table_size=32',
                              'table_size=0', 'preallocation=metadata', 'cluster_size=x'),
                 sizes=('1000', '3500k', '0', '1', '3G', '8E'))
