#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img bench, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images
from this_run import HAS_RINGS

t = Table('img-bench')

images(t)
for name, args in (('read', ''), ('write', '-w'), ('pattern', '-w --pattern=255'), ('pattern-hex', '-w --pattern=0x7f'),
                   ('pattern-256', '-w --pattern=256'), ('pattern-word', '-w --pattern=x'), ('count-0', '-c 0'), ('count-word', '-c x'),
                   ('count-negative', '-c -1'), ('count-large', '-c 99999999999'), ('depth', '-d 4'), ('depth-word', '-d x'),
                   ('size', '-s 64k -c 10'), ('size-word', '-s x'), ('size-large', '-s 3G'), ('step', '-s 4k -S 8k'), ('step-0', '-S 0'),
                   ('step-word', '-S x'), ('offset', '-o 1M'), ('offset-word', '-o x'), ('offset-end', '-o 1536k'),
                   ('over-end', '-o 1535k -c 2'), ('too-long', '-s 2M -c 1'), ('flush', '-w -d 4 --flush-interval=10'),
                   ('flush-no-drain', '-w -d 4 --flush-interval=10 --no-drain'), ('flush-read', '--flush-interval=100'),
                   ('flush-short', '-w --flush-interval=5'), ('no-drain', '-w --no-drain'), ('native', '-n'),
                   ('native-direct', '-n -t none'), ('threads', '-i threads'), *[('io_uring', '-i io_uring')] * HAS_RINGS, ('bad-aio', '-i foo'),
                   ('quiet', '-q'), ('bad-cache', '-t foo'), ('cache', '-t none'), ('shared', '-U'), ('shared-write', '-U -w'),
                   ('bad-format', '-f foo')):
    t.row(f'raw/{name}', f'qemu-img bench -c 100 {"" if "-f foo" in args else "-f raw"} {args} r', 'raw', mask='time')
for name, args in (('read', ''), ('write', '-w'), ('flush', '-w -d 2 --flush-interval=20'), ('one', '-d 1 -c 10')):
    t.row(f'qcow2/{name}', f'qemu-img bench -c 100 {args} a.qcow2', 'qcow2', mask='time')
t.row('image-opts', 'qemu-img bench -c 10 --image-opts driver=raw,file.filename=r', 'raw', mask='time')
t.row('image-opts-format', 'qemu-img bench -f raw --image-opts file.filename=r', 'raw')
t.row('probed-write', 'qemu-img bench -w -c 10 -o 64k r', 'raw', mask='time')
t.row('missing', 'qemu-img bench nope')
t.row('two', 'qemu-img bench a b')

t.main()
