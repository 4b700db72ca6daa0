#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img compare, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-compare')

images(t)
t.setup('pairs', """
    qemu-img create -q -f raw x1 1M
    qemu-img create -q -f raw x2 1M
    qemu-io -f raw -c 'write -P 0 64k 64k' x2 >/dev/null
    qemu-img create -q -f qcow2 y1 1M
    for i in 2 3; do qemu-img create -q -f qcow2 y$i 1M; done
    qemu-io -c 'write -P 0 64k 64k' y2 >/dev/null
    qemu-io -c 'write -z 64k 64k' y3 >/dev/null
    qemu-img create -q -f qcow2 y4 2M
    qemu-io -c 'write -P 0 1088k 64k' y4 >/dev/null
    cp y4 y5
    qemu-io -c 'write -P 1 1200k 1' y5 >/dev/null
    qemu-img create -q -f qcow2 -F qcow2 -b y2 o2
    cp x1 w1
    printf 'abc' > t1
    printf 'abd' > t2
    head -c 3000 /dev/zero > t3
    printf x >> t3
    qemu-img create -q -f raw big 8M
    qemu-io -f raw -c 'write -P 1 0 8M' big >/dev/null
    cp big big2
    qemu-io -f raw -c 'write -P 2 5000000 1' big2 >/dev/null
    qemu-img convert -c -O qcow2 big big.qcow2
    qemu-img convert -c -O qcow2 big2 big2.qcow2
""", 'raw')
names = ('x1', 'x2', 'y1', 'y2', 'y3', 'y4', 'y5', 'o2')
for a in names:
    for b in names:
        if a < b:
            t.row(f'pairs/{a}-{b}', f'qemu-img compare {a} {b}', 'pairs')
            t.row(f'pairs/{a}-{b}-strict', f'qemu-img compare -s {a} {b}', 'pairs')
for a, b in (('y5', 'y1'), ('y4', 'y1'), ('big', 'big2'), ('big', 'big.qcow2'), ('big2', 'big.qcow2'),
             ('big.qcow2', 'big2.qcow2'), ('x1', 'w1'), ('big', 'x1')):
    for flag in ('', '-s', '-q'):
        t.row(f'more/{a}-{b}{flag}', f'qemu-img compare {flag} {a} {b}', 'pairs')
for a, b in (('t1', 't2'), ('t1', 't3'), ('t3', 't1'), ('t1', 't1'), ('t3', 'y1')):
    t.row(f'odd/{a}-{b}', f'qemu-img compare -f raw -F raw {a} {b}', 'pairs')
for a in ('base', 'mid', 'top'):
    for b in ('base', 'mid', 'top'):
        t.row(f'chain/{a}-{b}', f'qemu-img compare {a}.qcow2 {b}.qcow2', 'chain')
t.row('progress', 'qemu-img compare -p big big.qcow2', 'pairs', mask='progress')
t.row('progress-differ', 'qemu-img compare -p big big2', 'pairs', mask='progress')
t.row('progress-quiet', 'qemu-img compare -p -q big big.qcow2', 'pairs')
for name, args in (('cache', '-T none'), ('bad-cache', '-T foo'), ('first-format', '-f qcow2'), ('second-format', '-F raw'),
                   ('bad-format', '-f foo'), ('other-format', '-f qcow2 -F qcow2'), ('shared', '-U')):
    t.row(f'options/{name}', f'qemu-img compare {args} y1 x1', 'pairs')
t.row('image-opts', 'qemu-img compare --image-opts driver=qcow2,file.filename=y1 driver=raw,file.filename=x1', 'pairs')
t.row('image-opts-format', 'qemu-img compare --image-opts -f raw driver=qcow2,file.filename=y1 y2', 'pairs')
bad = 'driver=blkdebug,image.filename=x2,inject-error.0.event=none,inject-error.0.iotype'
t.row('error/read', f'qemu-img compare --image-opts driver=raw,file.filename=x2 {bad}=read', 'pairs')
t.row('error/status', f'qemu-img compare --image-opts driver=raw,file.filename=x2 {bad}=block-status', 'pairs')
t.row('error/first-missing', 'qemu-img compare nope y1', 'pairs')
t.row('error/second-missing', 'qemu-img compare y1 nope', 'pairs')
t.row('error/object', 'qemu-img compare --object foo,id=x y1 y1', 'pairs')
t.row('usage/one', 'qemu-img compare y1', 'pairs')
t.row('usage/three', 'qemu-img compare y1 y1 y1', 'pairs')

# Exactly what -p prints, which the mask of other tests hides.
for name, images_ in (('same', 'a.qcow2 a.qcow2'), ('empty', 'empty.qcow2 empty.qcow2'), ('zero', 'zero empty.qcow2')):
    t.row(f'progress-as-it-is/{name}', f'qemu-img compare -p {images_} | grep -o "100.00.*"', 'qcow2')
t.main()
