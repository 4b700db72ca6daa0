#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img bitmap, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-bitmap')

images(t)
show = '; qemu-img info b.qcow2'
for name, args in (('add', '--add b.qcow2 new'), ('add-granularity', '--add -g 512 b.qcow2 new'), ('add-large', '--add -g 2G b.qcow2 new'),
                   ('add-1', '--add -g 1 b.qcow2 new'), ('add-511', '--add -g 511 b.qcow2 new'), ('add-4G', '--add -g 4G b.qcow2 new'),
                   ('add-word', '--add -g x b.qcow2 new'), ('add-existing', '--add b.qcow2 b0'), ('add-empty', '--add b.qcow2 ""'),
                   ('remove', '--remove b.qcow2 b0'), ('remove-missing', '--remove b.qcow2 nope'), ('clear', '--clear b.qcow2 b0'),
                   ('clear-missing', '--clear b.qcow2 nope'), ('enable', '--enable b.qcow2 b1'), ('enable-again', '--enable b.qcow2 b0'),
                   ('disable', '--disable b.qcow2 b0'), ('disable-again', '--disable b.qcow2 b1'), ('merge', '--merge b0 b.qcow2 b1'),
                   ('merge-coarser', '--merge b1 b.qcow2 b0'), ('merge-missing', '--merge nope b.qcow2 b0'),
                   ('merge-into-missing', '--merge b0 b.qcow2 nope'), ('merge-from', '--merge b0 -b c.qcow2 -F qcow2 b.qcow2 b1'),
                   ('merge-from-probed', '--merge b0 -b c.qcow2 b.qcow2 b1'), ('merge-from-missing', '--merge b0 -b nope b.qcow2 b1'),
                   ('merge-from-itself', '--merge b0 -b b.qcow2 b.qcow2 b1'), ('several', '--add --merge b0 --disable b.qcow2 new'),
                   ('add-remove', '--add --remove b.qcow2 new'), ('remove-add', '--remove --add b.qcow2 b0'),
                   ('merge-two', '--clear --merge b0 --merge b1 b.qcow2 b1'), ('granularity-alone', '-g 64k --remove b.qcow2 b0'),
                   ('format-alone', '--merge b0 -F qcow2 b.qcow2 b1'), ('source-alone', '-b c.qcow2 --add b.qcow2 new'),
                   ('nothing', 'b.qcow2 b0'), ('no-name', '--add b.qcow2'), ('three', '--add b.qcow2 new more'),
                   ('given', '--add -f qcow2 b.qcow2 new'), ('bad-format', '--add -f foo b.qcow2 new'), ('quiet', '-q --add b.qcow2 new'),
                   ('image-opts', '--add --image-opts driver=qcow2,file.filename=b.qcow2 new'),
                   ('image-opts-format', '--add --image-opts -f qcow2 file.filename=b.qcow2 new'),
                   ('long-name', '--add b.qcow2 ' + 'x' * 1023), ('too-long-name', '--add b.qcow2 ' + 'x' * 1024)):
    t.row(name, f'qemu-img bitmap {args}{show}', 'bitmaps', mask='disk')
t.row('raw', 'qemu-img bitmap --add -f raw r b', 'raw')
t.row('raw-probed', 'qemu-img bitmap --add r b', 'raw')
t.row('missing', 'qemu-img bitmap --add nope b')
t.row('v2', 'qemu-img create -q -f qcow2 -o compat=0.10 v2 1M; qemu-img bitmap --add v2 b')
t.row('snapshots', 'qemu-img bitmap --add s.qcow2 b && qemu-img info s.qcow2', 'snapshots', mask=('disk', 'date'))

t.main()
