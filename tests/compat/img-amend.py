#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img amend, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-amend')

images(t)
t.setup('v2', 'qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 1M', 'chain')
for name, args in (('v2', '-o compat=0.10 top.qcow2'), ('v3', '-o compat=1.1 v2.qcow2'), ('same', '-o compat=1.1 top.qcow2'),
                   ('bad-compat', '-o compat=foo top.qcow2'), ('lazy', '-o lazy_refcounts=on top.qcow2'),
                   ('lazy-v2', '-o lazy_refcounts=on v2.qcow2'), ('both', '-o compat=1.1,lazy_refcounts=on v2.qcow2'),
                   ('lists', '-o compat=1.1 -o lazy_refcounts=on v2.qcow2'), ('lazy-then-v2', '-o lazy_refcounts=on,compat=0.10 top.qcow2'),
                   ('refcount-64', '-o refcount_bits=64 top.qcow2'), ('refcount-1', '-o refcount_bits=1 top.qcow2'),
                   ('refcount-bad', '-o refcount_bits=7 top.qcow2'), ('refcount-v2', '-o refcount_bits=8 v2.qcow2'),
                   ('size', '-o size=20M top.qcow2'), ('size-shrink', '-o size=1M top.qcow2'), ('cluster', '-o cluster_size=4k top.qcow2'),
                   ('extended', '-o extended_l2=on top.qcow2'), ('preallocation', '-o preallocation=full top.qcow2'),
                   ('unknown', '-o foo=1 top.qcow2'), ('protocol', '-o nocow=on top.qcow2'), ('backing', '-o backing_file=r top.qcow2'),
                   ('backing-none', '-o backing_file= top.qcow2'), ('backing-format', '-o backing_fmt=raw top.qcow2'),
                   ('data-file', '-o data_file=x top.qcow2'), ('data-file-raw', '-o data_file_raw=on top.qcow2'),
                   ('force', '--force -o compat=0.10 top.qcow2'), ('quiet', '-q -o compat=0.10 top.qcow2'),
                   ('cache', '-t none -o compat=0.10 top.qcow2'), ('bad-cache', '-t foo -o compat=0.10 top.qcow2'),
                   ('given', '-f qcow2 -o compat=0.10 top.qcow2'), ('bad-format', '-f foo -o compat=0.10 top.qcow2'),
                   ('raw', '-f raw -o size=2M r'), ('raw-probed', '-o size=2M r'), ('missing', '-o compat=1.1 nope'),
                   ('help', '-o help top.qcow2'), ('help-format', '-f qcow2 -o help'), ('help-luks', '-f luks -o help'),
                   ('help-raw', '-f raw -o help'), ('help-nothing', '-o help'), ('help-bad', '-f foo -o help'),
                   ('no-options', 'top.qcow2'), ('no-image', '-o compat=1.1'), ('two', '-o compat=1.1 a b'),
                   ('list', '-o , top.qcow2'), ('image-opts', '-o compat=0.10 --image-opts driver=qcow2,file.filename=top.qcow2'),
                   ('image-opts-format', '-f qcow2 -o compat=0.10 --image-opts file.filename=top.qcow2')):
    t.row(name, f'qemu-img amend {args}', 'v2', mask='help' if 'help' in name else ())
t.row('progress', 'qemu-img amend -p -o compat=0.10 top.qcow2', 'v2', mask='progress')
t.row('progress-bad', 'qemu-img amend -p -o lazy_refcounts=on v2.qcow2', 'v2', mask='progress')
t.row('snapshots-v2', 'qemu-img amend -o compat=0.10 s.qcow2', 'snapshots')
t.row('snapshots-refcount', 'qemu-img amend -o refcount_bits=4 s.qcow2', 'snapshots')
t.row('snapshots-refcount-small', 'qemu-img amend -o refcount_bits=1 s.qcow2', 'snapshots')
t.row('data-file-name', 'qemu-img amend -o data_file=data2.raw d.qcow2', 'data-file')
s = '--object secret,id=s,data=abc --object secret,id=n,data=new --image-opts driver=luks,key-secret=s,file.filename=l.luks'
t.row('luks/add', f'qemu-img amend -o state=active,new-secret=n,iter-time=10 {s}', 'encrypted', files=False)
t.row('luks/bad-state', f'qemu-img amend -o state=foo {s}', 'encrypted', files=False)
t.row('luks/last-key', f'qemu-img amend -o state=inactive,old-secret=s {s}', 'encrypted', files=False)

t.main()
