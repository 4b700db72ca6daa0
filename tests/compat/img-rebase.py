#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img rebase, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-rebase')

images(t)
t.setup('more', """
    cp base.qcow2 copy.qcow2
    cp base.qcow2 other.qcow2
    qemu-io -c 'write -P 9 6M 200k' -c 'write -P 9 64k 4k' other.qcow2 >/dev/null
    qemu-img create -q -f qcow2 short.qcow2 2M
    qemu-img create -q -f qcow2 long.qcow2 20M
    qemu-io -c 'write -P 9 11M 2M' long.qcow2 >/dev/null
""", 'chain')
for name, args in (('skip-middle', '-b base.qcow2 -F qcow2'), ('none', '-b ""'), ('none-with-format', '-b "" -F qcow2'),
                   ('copy', '-b copy.qcow2 -F qcow2'), ('other', '-b other.qcow2 -F qcow2'), ('short', '-b short.qcow2 -F qcow2'),
                   ('long', '-b long.qcow2 -F qcow2'), ('raw', '-b r -F raw'), ('same', '-b mid.qcow2 -F qcow2'),
                   ('no-format', '-b base.qcow2'), ('missing', '-b nope -F qcow2'), ('bad-format', '-b base.qcow2 -F foo'),
                   ('wrong-format', '-b r -F qcow2'), ('itself', '-b top.qcow2 -F qcow2'), ('quiet', '-q -b base.qcow2 -F qcow2'),
                   ('unsafe', '-u -b base.qcow2 -F qcow2'), ('unsafe-missing', '-u -b nope -F raw'),
                   ('unsafe-none', '-u -b ""'), ('unsafe-no-format', '-u -b base.qcow2'), ('unsafe-bad-format', '-u -b base.qcow2 -F foo'),
                   ('unsafe-nothing', '-u'), ('nothing', ''), ('cache', '-t none -T none -b base.qcow2 -F qcow2'),
                   ('bad-cache', '-t foo -b base.qcow2 -F qcow2'), ('bad-source-cache', '-T foo -b base.qcow2 -F qcow2'),
                   ('shared', '-U -b base.qcow2 -F qcow2'), ('given', '-f qcow2 -b base.qcow2 -F qcow2'),
                   ('given-raw', '-f raw -b base.qcow2 -F qcow2'), ('bad-source-format', '-f foo -b base.qcow2 -F qcow2')):
    t.row(f'top/{name}', f'qemu-img rebase {args} top.qcow2', 'more')
t.row('top/progress', 'qemu-img rebase -p -b base.qcow2 -F qcow2 top.qcow2', 'more', mask='progress')
t.row('top/image-opts', 'qemu-img rebase -b base.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=top.qcow2', 'more')
t.row('top/in-folder', 'mkdir d; cp top.qcow2 d; cd d; qemu-img rebase -u -b ../mid.qcow2 -F qcow2 top.qcow2; '
      'qemu-img rebase -b ../base.qcow2 -F qcow2 top.qcow2', 'more')
t.row('no-backing/gets-one', 'qemu-img rebase -b r -F raw a.qcow2', 'qcow2')
t.row('no-backing/none', 'qemu-img rebase -b "" a.qcow2', 'qcow2')
t.row('raw', 'qemu-img rebase -f raw -b "" r', 'raw')
t.row('raw-probed', 'qemu-img rebase -b "" r', 'raw')
t.row('lost-backing', 'rm mid.qcow2; qemu-img rebase -b base.qcow2 -F qcow2 top.qcow2', 'more')
t.row('lost-backing-unsafe', 'rm mid.qcow2; qemu-img rebase -u -b base.qcow2 -F qcow2 top.qcow2', 'more')
t.row('missing', 'qemu-img rebase -b base.qcow2 -F qcow2 nope', 'more')
t.row('v2', 'qemu-img create -q -f qcow2 -o compat=0.10 -b mid.qcow2 -F qcow2 v2; qemu-img rebase -b "" v2', 'more')
t.row('usage/two', 'qemu-img rebase -b "" a b')
t.row('usage/no-value', 'qemu-img rebase top.qcow2 -b', 'more')

t.main()
