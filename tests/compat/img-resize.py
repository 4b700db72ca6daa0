#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img resize, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-resize')

images(t)
for name, args in (('same', 'r 1536k'), ('grow', 'r 3M'), ('plus', 'r +1M'), ('plus-0', 'r +0'), ('odd', 'r +1000'),
                   ('shrink-refused', 'r 1M'), ('minus-refused', 'r -512k'), ('shrink', '--shrink r 1M'),
                   ('minus', '--shrink r -512k'), ('minus-after-dashes', '--shrink r -- -512k'),
                   ('shrink-odd', '--shrink r 3000'), ('minus-all', '--shrink r -1536k'), ('minus-more', '--shrink r -1G'),
                   ('zero', '--shrink r 0'), ('word', 'r x'), ('plus-word', 'r +x'), ('plus-large', 'r +9E'),
                   ('quiet', '-q r 3M'), ('falloc', '--preallocation=falloc r 3M'), ('full', '--preallocation=full r 3M'),
                   ('off', '--preallocation=off r 3M'), ('metadata', '--preallocation=metadata r 3M'),
                   ('bad-preallocation', '--preallocation=foo r 3M'), ('shrink-full', '--preallocation=full --shrink r 1M'),
                   ('missing', 'nope 1M'), ('one', 'r'), ('nothing', ''), ('three', 'r 1M 2M'), ('bad-format', '-f foo r 1M')):
    t.row(f'raw/{name}', f'qemu-img resize {"" if "-f" in args or not args else "-f raw"} {args}', 'raw')
t.row('raw/probed', 'qemu-img resize r 3M', 'raw')
for name, args in (('same', 'a.qcow2 10M'), ('grow', 'a.qcow2 20M'), ('grow-much', 'a.qcow2 1T'), ('plus', 'a.qcow2 +1M'),
                   ('shrink-refused', 'a.qcow2 1M'), ('shrink', '--shrink a.qcow2 1M'), ('shrink-more', '--shrink a.qcow2 64k'),
                   ('minus', '--shrink a.qcow2 -5M'), ('odd', 'a.qcow2 +1'), ('sectors', 'a.qcow2 +512'),
                   ('metadata', '--preallocation=metadata a.qcow2 20M'), ('falloc', '--preallocation=falloc a.qcow2 20M'),
                   ('full', '--preallocation=full a.qcow2 20M'), ('too-large', 'a.qcow2 7E'),
                   ('image-opts', '--image-opts driver=qcow2,file.filename=a.qcow2 +1M'),
                   ('image-opts-format', '--image-opts -f qcow2 file.filename=a.qcow2 +1M')):
    t.row(f'qcow2/{name}', f'qemu-img resize {args}', 'qcow2')
t.row('snapshots/grow', 'qemu-img resize s.qcow2 20M', 'snapshots')
t.row('snapshots/shrink', 'qemu-img resize --shrink s.qcow2 5M', 'snapshots')
t.row('bitmaps/grow', 'qemu-img resize b.qcow2 20M', 'bitmaps')
t.row('bitmaps/shrink', 'qemu-img resize --shrink b.qcow2 5M', 'bitmaps')
t.row('v2/grow', 'qemu-img create -q -f qcow2 -o compat=0.10 v2 1M; qemu-img resize v2 5M', 'raw')
t.row('chain/grow', 'qemu-img resize mid.qcow2 20M', 'chain')
t.row('chain/shrink', 'qemu-img resize --shrink top.qcow2 2M', 'chain')
t.row('data-file/grow', 'qemu-img resize d.qcow2 2M', 'data-file')
t.row('data-file/shrink', 'qemu-img resize --shrink d.qcow2 512k', 'data-file')
raw = 'qemu-img create -q -f qcow2 -o data_file=raw,data_file_raw=on x 1M'
shown = 'qemu-img map --output=json x'
t.row('data-file-raw/new-is-mapped', f'{raw}; {shown}; printf abc | dd of=raw conv=notrunc status=none; qemu-io -c "read -v 0 16" x | grep 0000')
t.row('data-file-raw/grown-is-mapped', f'{raw}; qemu-img resize x 2M; {shown}; qemu-img resize --shrink x 1500k; {shown}')
t.row('data-file-raw/discarded', f'{raw}; qemu-io -c "discard 64k 64k" x >/dev/null; {shown}')
t.row('data-file-raw/grow', 'qemu-img resize d2.qcow2 2M', 'data-file')
t.row('luks/grow', 'qemu-img resize --object secret,id=s,data=abc --image-opts '
      'driver=luks,key-secret=s,file.filename=l.luks 2M', 'encrypted')
t.row('null', 'qemu-img resize null-co:// 1M')

t.main()
