#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img snapshot, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-snapshot')

images(t)
D = ('date', 'nsec')
for name, args in (('list', '-l'), ('list-quiet', '-q -l'), ('list-shared', '-U -l'), ('create', '-c new'), ('create-quiet', '-q -c new'),
                   ('create-same', '-c first'), ('create-empty', '-c ""'), ('apply-name', '-a first'), ('apply-id', '-a 2'),
                   ('apply-missing', '-a nope'), ('delete-name', '-d first'), ('delete-id', '-d 1'), ('delete-missing', '-d nope'),
                   ('delete-shared', '-U -d first'), ('two-actions', '-c x -d y'), ('list-and-create', '-l -c x')):
    t.row(name, f'qemu-img snapshot {args} s.qcow2', 'snapshots', mask=D)
    t.row(f'{name}-then-list', f'qemu-img snapshot {args} s.qcow2; qemu-img snapshot -l s.qcow2', 'snapshots', mask=D)
t.row('all', 'qemu-img snapshot -a first s.qcow2 && qemu-img snapshot -d first s.qcow2 && qemu-img snapshot -c x s.qcow2 '
      '&& qemu-img snapshot -l s.qcow2', 'snapshots', mask=D)
t.row('from-empty', 'for i in 1 2 3; do qemu-img snapshot -c s$i a.qcow2; done; qemu-img snapshot -d s2 a.qcow2; '
      'qemu-img snapshot -c s4 a.qcow2; qemu-img snapshot -l a.qcow2', 'qcow2', mask=D)
t.row('none', 'qemu-img snapshot -l a.qcow2', 'qcow2')
t.row('raw-list', 'qemu-img snapshot -l r', 'raw')
t.row('raw-create', 'qemu-img snapshot -c x r', 'raw')
t.row('overlay', 'qemu-img snapshot -c x top.qcow2 && qemu-img snapshot -a x top.qcow2', 'chain', mask=D)
t.row('after-resize', 'qemu-img resize -q s.qcow2 20M && qemu-img snapshot -a first s.qcow2', 'snapshots', mask=D)
t.row('bitmaps-create', 'qemu-img snapshot -c x b.qcow2', 'bitmaps', mask=D)
t.row('bitmaps-apply', 'qemu-img snapshot -c x b.qcow2; qemu-img snapshot -a x b.qcow2', 'bitmaps', mask=D)
t.row('data-file', 'qemu-img snapshot -c x d.qcow2', 'data-file', mask=D)
t.row('image-opts', 'qemu-img snapshot -l --image-opts driver=qcow2,file.filename=s.qcow2', 'snapshots', mask=D)
# L1 tables of more than a cluster.
for size, cluster in (('1G', '512'), ('16G', '4k'), ('128T', '64k'), ('1E', '2M')):
    t.row(f'large-l1/{size}-{cluster}', f'qemu-img create -q -f qcow2 -o cluster_size={cluster} x {size}\n'
          'qemu-img snapshot -c a x && qemu-img snapshot -c b x && qemu-img snapshot -a a x && '
          'qemu-img snapshot -d a x && qemu-img check x', mask='end', files=size != '1E')
t.row('name/256-bytes', f'qemu-img snapshot -c {"x" * 256} a.qcow2; qemu-img snapshot -l a.qcow2; '
      f'qemu-img info a.qcow2', 'qcow2', mask=[*D, 'disk'])
t.row('name/255-bytes', f'qemu-img snapshot -c {"x" * 255} a.qcow2; qemu-img snapshot -l a.qcow2', 'qcow2', mask=D)
t.row('name/apply-300-bytes', f'qemu-img snapshot -c {"x" * 300} a.qcow2; qemu-img snapshot -a {"x" * 300} a.qcow2; '
      f'qemu-img snapshot -d {"x" * 255} a.qcow2', 'qcow2', mask=D)
t.row('missing', 'qemu-img snapshot -l nope')
t.row('time-zone', 'TZ=Asia/Tokyo qemu-img snapshot -l s.qcow2', 'snapshots')
for twice in ('-c x -c y', '-d first -d first', '-l -l', '-l -c x'):
    t.row(f'usage/twice/{twice.replace(" ", "")}', f'qemu-img snapshot {twice} s.qcow2; qemu-img snapshot -l s.qcow2',
          'snapshots')
t.row('usage/no-value', 'qemu-img snapshot -c')
t.row('usage/no-image', 'qemu-img snapshot -c x')

t.main()
