#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img dd, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-dd')

images(t)
for name, args in (('plain', 'if=r of=out'), ('bs', 'if=r of=out bs=1M'), ('count', 'if=r of=out bs=1M count=1'),
                   ('skip', 'if=r of=out bs=64k skip=1'), ('skip-count', 'if=r of=out bs=64k skip=1 count=2'),
                   ('skip-all', 'if=r of=out bs=1M skip=100'), ('count-0', 'if=r of=out count=0'),
                   ('count-beyond', 'if=r of=out bs=1M count=100'), ('odd-bs', 'if=r of=out bs=1000'),
                   ('odd-bs-count', 'if=r of=out bs=100 count=3'), ('odd-source', 'if=odd of=out'),
                   ('bs-0', 'if=r of=out bs=0'), ('bs-word', 'if=r of=out bs=x'), ('bs-suffix', 'if=r of=out bs=1kB'),
                   ('bs-large', 'if=r of=out bs=2G'), ('count-word', 'if=r of=out count=x'),
                   ('count-large', 'if=r of=out count=8E'), ('skip-negative', 'if=r of=out skip=-1'),
                   ('unknown', 'if=r of=out foo=1'), ('conv', 'if=r of=out conv=sync'), ('no-value', 'if r of out'),
                   ('nothing', ''), ('no-output', 'if=r'), ('no-input', 'of=out'), ('twice', 'if=zero if=r of=out'),
                   ('equals', '='), ('empty-input', 'if= of=out'), ('empty-output', 'if=r of='),
                   ('to-qcow2', '-O qcow2 if=r of=out'), ('to-qcow2-part', '-O qcow2 if=r of=out bs=64k count=3 skip=1'),
                   ('from-qcow2', 'if=a.qcow2 of=out bs=1M'), ('from-raw-given', '-f raw if=r of=out'),
                   ('bad-format', '-f foo if=r of=out'), ('bad-target', '-O foo if=r of=out'),
                   ('cannot-create', '-O null-co if=r of=out'), ('missing', 'if=nope of=out'),
                   ('no-folder', 'if=r of=nope/out'), ('shared', '-U if=r of=out'),
                   ('image-opts', '--image-opts if=driver=raw,file.filename=r of=out'),
                   ('image-opts-format', '--image-opts -f raw if=file.filename=r of=out'),
                   ('unknown-option', '-n if=r of=out'), ('over-existing', 'if=r of=zero'), ('object', '--object foo,id=x if=r of=out')):
    t.row(name, f'qemu-img dd {args}', 'qcow2')
t.row('chain', 'qemu-img dd -O qcow2 bs=64k if=top.qcow2 of=out', 'chain')

t.main()
