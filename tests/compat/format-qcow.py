#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of qcow version 1, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import format_rows
from compat import Table, images

slow = '.slow.' in sys.argv[0]
t = Table('format-qcow')
images(t)
t.setup('chain', """
    qemu-img create -q -f qcow -b r -F raw top 2M
    qemu-io -c 'write -P 1 3k 300k' -c 'write -P 5 1M 700' top >/dev/null
    qemu-img create -q -f qcow -b top -F qcow above 3M
    qemu-img create -q -f qcow compressed 2M
    qemu-io -c 'write -c -P 1 64k 4k' -c 'write -c -P 2 128k 4k' -c 'write -P 3 1M 4k' compressed >/dev/null
    qemu-img convert -O qcow -o encrypt.format=aes,encrypt.key-secret=s --object secret,id=s,data=abc top secret
""", 'raw')
KEY = '--object secret,id=s,data=abc --image-opts driver=qcow,file.filename=secret,encrypt.key-secret=s'
for command in ('info top', 'map --output=json top', 'map --output=json above', 'info --output=json compressed',
                'map --output=json compressed', 'info secret', 'info --output=json secret', f'map --output=json {KEY}',
                f'convert -O raw {KEY} out', 'convert -O raw above out', 'convert -O raw compressed out',
                'create -f qcow -b r -F raw x', 'create -f qcow -b r -F raw x 512k', 'resize top 10M', 'commit above'):
    if slow or command in ('info top', 'map --output=json above', 'map --output=json compressed', 'info secret',
                           f'convert -O raw {KEY} out'):
        t.row(f'qcow-{command}', f'qemu-img {command}', 'chain', mask=format_rows.SPACE)
t.row('qcow-write-over-backing', "qemu-io -c 'write -P 7 60k 5k' -c 'write -P 8 1M 64k' -c 'write -P 9 1900k 64k' top "
      '| grep -v ops; qemu-img map --output=json top', 'chain')
t.row('qcow-write-over-compressed', "qemu-io -c 'write -P 7 6000 5k' -c 'write -P 8 1M 64k' compressed | grep -v ops; "
      'qemu-img convert -O raw compressed out', 'chain', files=False)
t.row('qcow-compare-secret', f'qemu-img compare {KEY} driver=qcow,file.filename=top', 'chain')
format_rows.main(t, 'qcow', creates=('',), bad_creates=('encrypt.format=luks,encrypt.key-secret=s', 'encrypt.format=aes',
                                                       'preallocation=metadata', 'cluster_size=4k'),
                 # Of a disk of 0 bytes the reference leaves an empty file; its convert -c fails without a word.
                 sizes=('1000', '3500k', '1', '3G', '8E'), compressed=False)
