#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img map, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-map')

images(t)
t.setup('shapes', """
    qemu-img create -q -f qcow2 z.qcow2 1M
    qemu-io -c 'write -z 0 64k' -c 'write -P 0 64k 64k' -c 'write -P 1 256k 128k' \\
        -c 'discard 320k 64k' z.qcow2 >/dev/null
    qemu-img convert -c -O qcow2 z.qcow2 compressed.qcow2
    qemu-img create -q -f qcow2 -o preallocation=metadata meta.qcow2 1M
    qemu-img create -q -f qcow2 -o extended_l2=on ext.qcow2 1M
    qemu-io -c 'write -P 1 2k 2k' -c 'write -z 8k 2k' ext.qcow2 >/dev/null
    qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=512 small.qcow2 1M
    qemu-io -c 'write -P 1 100k 100k' -c 'write -P 2 300k 512' small.qcow2 >/dev/null
    qemu-img create -q -f qcow2 nothing.qcow2 0
    qemu-img create -q -f qcow2 huge.qcow2 100T
""", 'raw')
for setup, name in (('raw', 'r'), ('raw', 'zero'), ('raw', 'odd'), ('qcow2', 'a.qcow2'), ('qcow2', 'empty.qcow2'),
                    ('chain', 'base.qcow2'), ('chain', 'mid.qcow2'), ('chain', 'top.qcow2'),
                    ('shapes', 'z.qcow2'), ('shapes', 'compressed.qcow2'), ('shapes', 'meta.qcow2'),
                    ('shapes', 'ext.qcow2'), ('shapes', 'small.qcow2'), ('shapes', 'nothing.qcow2'),
                    ('shapes', 'huge.qcow2'), ('data-file', 'd.qcow2'), ('data-file', 'd2.qcow2')):
    for output in ('human', 'json'):
        t.row(f'{setup}/{name}-{output}', f'qemu-img map --output={output} {name}', setup)
        t.row(f'{setup}/{name}-{output}-window',
              f'qemu-img map --output={output} --start-offset=100k --max-length=700k {name}', setup)
t.row('as-raw', 'qemu-img map -f raw top.qcow2', 'chain')
t.row('as-raw-json', 'qemu-img map -f raw --output=json top.qcow2', 'chain')
for name, args in (('past-the-end', '--start-offset=100M'), ('past-the-end-json', '--start-offset=100M --output=json'),
                   ('nothing', '--max-length=0'), ('nothing-json', '--max-length=0 --output=json'),
                   ('odd-window', '--start-offset=100 --max-length=1000 --output=json'),
                   ('short-names', '-U'), ('bad-start', '--start-offset=x'), ('negative', '--start-offset=-1'),
                   ('bad-length', '--max-length=x'), ('bad-output', '--output=xml'), ('bad-format', '-f foo'),
                   ('too-large', '--start-offset=9E')):
    t.row(f'options/{name}', f'qemu-img map {args} top.qcow2', 'chain')
t.row('image-opts', 'qemu-img map --image-opts driver=qcow2,file.filename=a.qcow2', 'qcow2')
t.row('image-opts-window', 'qemu-img map --output=json --image-opts driver=raw,offset=65536,file.filename=r', 'raw')
t.row('image-opts-format', 'qemu-img map -f raw --image-opts driver=raw,file.filename=r', 'raw')
t.row('encrypted-no-key', 'qemu-img map e.qcow2', 'encrypted')
e = '--object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2'
t.row('encrypted', f'qemu-img map --output=json {e}', 'encrypted')
t.row('encrypted-human', f'qemu-img map {e}', 'encrypted')
t.row('luks', 'qemu-img map --output=json --object secret,id=s,data=abc '
      '--image-opts driver=luks,key-secret=s,file.filename=l.luks', 'encrypted')
t.row('null', 'qemu-img map null-co://')
t.row('null-json', 'qemu-img map --output=json null-co://')
t.row('missing', 'qemu-img map nope')
t.row('lost-backing', 'rm mid.qcow2; qemu-img map top.qcow2', 'chain')
t.row('usage/two', 'qemu-img map a b')
t.row('usage/quiet', 'qemu-img map -q r', 'raw')

t.row('space-behind-a-short-backing-file', 'truncate -s 524800 b\n'
      'qemu-img create -q -f qcow2 -o extended_l2=on,preallocation=metadata -b b -F raw x 2M\n'
      'qemu-img map --output=json x')
t.main()
