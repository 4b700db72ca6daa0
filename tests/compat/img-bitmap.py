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
for step in ('--add -g 64k o.qcow2 new', '--disable o.qcow2 b0', '--merge b0 -b o.qcow2 -F qcow2 b.qcow2 b1'):
    t.row(f'without-backing/{step.split()[0]}', 'cp b.qcow2 o.qcow2; qemu-img rebase -u -b gone -F raw o.qcow2; '
          f'qemu-img bitmap {step}; qemu-img info b.qcow2; qemu-img info o.qcow2', 'bitmaps', mask=['disk'])
t.row('snapshots', 'qemu-img bitmap --add s.qcow2 b && qemu-img info s.qcow2', 'snapshots', mask=('disk', 'date'))

# A killed program leaves bitmaps in use, which nobody can trust any more.
KILLED = '-c "sigraise 9" b.qcow2 >/dev/null; } 2>/dev/null; '
t.row('in-use/opened', f'{{ qemu-io {KILLED} qemu-img info b.qcow2', 'bitmaps', mask=['disk'])
t.row('in-use/read-only', f'{{ qemu-io -r {KILLED} qemu-img info b.qcow2', 'bitmaps', mask=['disk'])
t.row('in-use/reopened', f'{{ qemu-io -r -c "reopen -w" {KILLED} qemu-img info b.qcow2', 'bitmaps', mask=['disk'])
t.row('in-use/reopened-twice', f'{{ qemu-io -c "write -q 1M 64k" -c "reopen -r" -c "reopen -w" {KILLED} qemu-img info b.qcow2',
      'bitmaps', mask=['disk'])
t.row('in-use/reopened-read-only', f'{{ qemu-io -c "write -q 1M 64k" -c "reopen -r" {KILLED} qemu-img info b.qcow2',
      'bitmaps', mask=['disk'])
for name, command in (('grow', 'resize b.qcow2 20M'), ('shrink', 'resize --shrink b.qcow2 5M'),
                      ('clear', 'bitmap --clear b.qcow2 b0'), ('remove', 'bitmap --remove b.qcow2 b0'),
                      ('enable', 'bitmap --enable b.qcow2 b0'), ('merge-from', 'bitmap --merge b0 b.qcow2 b1'),
                      ('convert', 'convert --bitmaps -O qcow2 b.qcow2 o'),
                      ('convert-skip', 'convert --bitmaps --skip-broken-bitmaps -O qcow2 b.qcow2 o'),
                      ('snapshot', 'snapshot -c x b.qcow2'), ('check', 'check b.qcow2'),
                      ('apply', 'snapshot -c x b.qcow2; qemu-img snapshot -a x b.qcow2')):
    t.row(f'in-use/{name}', f'{{ qemu-io {KILLED} qemu-img {command}', 'bitmaps')

t.main()
