#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img commit, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-commit')

images(t)
for name, args in (('plain', ''), ('keep', '-d'), ('quiet', '-q'), ('base', '-b base.qcow2'), ('middle', '-b mid.qcow2'),
                   ('base-missing', '-b foo'), ('base-itself', '-b top.qcow2'), ('rate', '-r 100M'), ('bad-rate', '-r x'),
                   ('cache', '-t none'), ('bad-cache', '-t foo'), ('given', '-f qcow2'), ('given-raw', '-f raw'),
                   ('bad-format', '-f foo')):
    t.row(f'top/{name}', f'qemu-img commit {args} top.qcow2', 'chain')
    t.row(f'mid/{name}', f'qemu-img commit {args} mid.qcow2', 'chain')
t.row('progress', 'qemu-img commit -p top.qcow2', 'chain', mask='progress')
t.row('progress-without-backing', 'qemu-img create -q -f qcow2 a 1M; qemu-img commit -p a')
t.row('progress-unopened', 'qemu-img commit -p missing')
t.row('image-opts', 'qemu-img commit --image-opts driver=qcow2,file.filename=top.qcow2', 'chain')
t.row('two-steps', 'qemu-img commit top.qcow2 && qemu-img commit mid.qcow2', 'chain')
t.row('no-backing', 'qemu-img commit a.qcow2', 'qcow2')
t.row('raw', 'qemu-img commit -f raw r', 'raw')
t.row('raw-probed', 'qemu-img commit r', 'raw')
t.row('into-raw', 'qemu-img create -q -f qcow2 -b r -F raw x; qemu-io -c "write -P 8 100k 50k" x >/dev/null; qemu-img commit x', 'raw')
t.row('into-smaller-raw', 'qemu-img create -q -f qcow2 -b r -F raw x 4M; qemu-io -c "write -P 8 3M 50k" x >/dev/null; qemu-img commit x', 'raw')
t.row('into-smaller-raw-zero', 'qemu-img create -q -f qcow2 -b r -F raw x 4M; qemu-io -c "write -z 64k 128k" x >/dev/null; qemu-img commit x', 'raw')
t.row('into-larger', 'qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 x 2M; qemu-io -c "write -P 8 1M 1M" x >/dev/null; qemu-img commit x', 'chain')
t.row('lost-backing', 'rm base.qcow2; qemu-img commit top.qcow2', 'chain')
t.row('missing', 'qemu-img commit nope')
t.row('usage/two', 'qemu-img commit a b')
t.row('usage/shared', 'qemu-img commit -U top.qcow2', 'chain')

t.main()
