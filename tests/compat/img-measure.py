#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img measure, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-measure')

images(t)
for name, args in (('raw', '--size 1G'), ('qcow2', '-O qcow2 --size 1G'), ('json', '-O qcow2 --output=json --size 1G'),
                   ('clusters', '-O qcow2 -o cluster_size=4k --size 1G'), ('largest-clusters', '-O qcow2 -o cluster_size=2M --size 1T'),
                   ('full', '-O qcow2 -o preallocation=full --size 1G'),
                   ('raw-full', '-O raw -o preallocation=full --size 1G'), ('raw-nocow', '-O raw -o nocow=on,extent_size_hint=64k --size 1M'),
                   ('luks-falloc', '--object secret,id=s,data=x -O luks -o key-secret=s,preallocation=falloc --size 1M'),
                   ('qcow2-nocow', '-O qcow2 -o nocow=on,extent_size_hint=1M --size 1M'), ('metadata', '-O qcow2 -o preallocation=metadata --size 1G'),
                   ('refcount', '-O qcow2 -o refcount_bits=64 --size 1G'), ('extended', '-O qcow2 -o extended_l2=on --size 1G'),
                   ('v2', '-O qcow2 -o compat=0.10 --size 1G'), ('data-file', '-O qcow2 -o data_file=x --size 1G'),
                   ('backing', '-O qcow2 -o backing_file=r,backing_fmt=raw --size 1G'), ('size-0', '--size 0'), ('qcow2-0', '-O qcow2 --size 0'),
                   ('odd', '--size 1000'), ('qcow2-odd', '-O qcow2 --size 1000'), ('word', '--size x'), ('large', '--size 8E'),
                   ('too-large', '-O qcow2 --size 7E'), ('size-twice', '-O qcow2 -o size=2G --size 1G'), ('luks-no-key', '-O luks --size 1G'),
                   ('unknown', '-O qcow2 -o foo=1 --size 1G'), ('list', '-O qcow2 -o , --size 1G'), ('format-alone', '-f raw --size 1'),
                   ('snapshot-alone', '-l x --size 1'), ('opts-alone', '--image-opts --size 1'), ('nothing', '-O qcow2'),
                   ('bad-format', '-O foo --size 1'), ('cannot', '-O null-co --size 1'), ('file', '-O file --size 1'),
                   ('bad-output', '--output=xml --size 1')):
    t.row(f'size/{name}', f'qemu-img measure {args}', stderr='any' if name == 'unknown' else 'shape')
for setup, name in (('raw', 'r'), ('raw', 'odd'), ('qcow2', 'a.qcow2'), ('chain', 'top.qcow2'), ('chain', 'mid.qcow2'),
                    ('snapshots', 's.qcow2'), ('bitmaps', 'b.qcow2'), ('data-file', 'd.qcow2')):
    for target in ('raw', 'qcow2'):
        for output in ('human', 'json'):
            t.row(f'{setup}/{name}-{target}-{output}', f'qemu-img measure -O {target} --output={output} {name}', setup)
    t.row(f'{setup}/{name}-clusters', f'qemu-img measure -O qcow2 -o cluster_size=4k {name}', setup)
    t.row(f'{setup}/{name}-backing', f'qemu-img measure -O qcow2 -o backing_file=r,backing_fmt=raw {name}', setup)
t.row('snapshot', 'qemu-img measure -O qcow2 -l first s.qcow2', 'snapshots')
t.row('snapshot-missing', 'qemu-img measure -O qcow2 -l nope s.qcow2', 'snapshots')
t.row('given', 'qemu-img measure -f raw a.qcow2', 'qcow2')
t.row('image-opts', 'qemu-img measure --image-opts driver=qcow2,file.filename=a.qcow2', 'qcow2')
t.row('image-opts-format', 'qemu-img measure -f raw --image-opts file.filename=a.qcow2', 'qcow2')
t.row('size-and-image', 'qemu-img measure --size 1G r', 'raw')
t.row('missing', 'qemu-img measure nope')
t.row('two', 'qemu-img measure a b')
t.row('shared', 'qemu-img measure -U r', 'raw')
t.row('packed', 'qemu-img convert -c -O qcow2 a.qcow2 p; qemu-img measure -O qcow2 p', 'qcow2')

t.row('help-without-image', 'qemu-img measure -O qcow2 -o help')
t.row('source-without-bitmaps', 'qemu-img create -q -f qcow2 -o compat=0.10 v2 1M\n'
      'qemu-img measure -O qcow2 v2; qemu-img measure -O qcow2 --output=json v2')
t.main()
