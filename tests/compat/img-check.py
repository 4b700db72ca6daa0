#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img check, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-check')

images(t)
t.setup('damaged', """
    python3 - <<'END'
import shutil, struct
def make(name):
    shutil.copy('a.qcow2', name)
    return open(name, 'r+b')
def be(f, at, fmt='>Q'):
    f.seek(at)
    return struct.unpack(fmt, f.read(struct.calcsize(fmt)))[0]
def put(f, at, value, fmt='>Q'):
    f.seek(at)
    f.write(struct.pack(fmt, value))
def block(f):
    return be(f, be(f, 48))
with make('leak') as f:
    f.seek(0, 2)
    end = (f.tell() + 65535) // 65536
    f.truncate((end + 1) * 65536)
    put(f, block(f) + 2 * end, 1, '>H')
with make('lost') as f:
    put(f, block(f) + 2 * 5, 0, '>H')
with make('double') as f:
    put(f, block(f) + 2 * 7, 2, '>H')
with make('flag') as f:
    l2 = be(f, be(f, 40)) & ((1 << 56) - 512)
    put(f, l2, be(f, l2) & ~(1 << 63))
with make('far') as f:
    l2 = be(f, be(f, 40)) & ((1 << 56) - 512)
    put(f, l2, (1 << 63) | (1 << 50))
with make('cut-within-an-l2-table') as f:
    l2 = be(f, be(f, 40)) & ((1 << 56) - 512)
    f.truncate(l2 + 8192)
with make('dirty') as f:
    put(f, 72, 1)
with make('corrupt') as f:
    put(f, 72, 2)
END
    head -c 100000 a.qcow2 > short
""", 'qcow2')
for setup, name in (('qcow2', 'a.qcow2'), ('qcow2', 'empty.qcow2'), ('chain', 'top.qcow2'), ('snapshots', 's.qcow2'),
                    ('data-file', 'd.qcow2'), ('bitmaps', 'b.qcow2')):
    for args in ('', '-q', '--output=json', '-r leaks', '-r all', '-r all --output=json', '-f qcow2', '-U', '-T none'):
        t.row(f'{name}{args}', f'qemu-img check {args} {name}', setup, mask='end' if 'r' in args else ())
t.row('packed', 'qemu-img convert -c -O qcow2 a.qcow2 out && qemu-img check out', 'qcow2', mask='end')
t.row('packed-json', 'qemu-img convert -c -O qcow2 a.qcow2 out && qemu-img check --output=json out', 'qcow2', mask='end')
for name in ('leak', 'lost', 'double', 'flag', 'far', 'dirty', 'corrupt', 'short'):
    for args in ('', '-q', '--output=json', '-r leaks', '-r all', '-r all --output=json', '-r leaks -q'):
        if name == 'short' and '-r all' in args:
            continue      # ours is better: see file-cut-to-refcounts of qcow2-repair
        t.row(f'damaged/{name}{args}', f'qemu-img check {args} {name}', 'damaged', mask='end')
for args in ('', '-q', '--output=json', '-r leaks', '-r all', '-r all --output=json', '-r leaks -q'):
    # Ours warns of the table, too.
    t.row(f'damaged/cut-within-an-l2-table{args}', f'qemu-img check {args} cut-within-an-l2-table 2>err; '
          'code=$?; grep -v "^qemu-img: warning: " err >&2; rm err; exit $code', 'damaged', mask='end')
for name, args in (('raw', '-f raw r'), ('raw-json', '--output=json -f raw r'), ('raw-repair', '-r all -f raw r'),
                   ('probed-raw', 'r'), ('probed-raw-repair', '-r all r'), ('null', 'null-co://'),
                   ('bad-repair', '-r foo a.qcow2'), ('bad-output', '--output=xml a.qcow2'), ('bad-cache', '-T foo a.qcow2'),
                   ('bad-format', '-f foo a.qcow2'), ('missing', 'nope'), ('two', 'a b'),
                   ('shared-repair', '-U -r all a.qcow2'), ('image-opts', '--image-opts driver=qcow2,file.filename=a.qcow2'),
                   ('image-opts-json', '--output=json --image-opts driver=qcow2,file.filename=a.qcow2'),
                   ('image-opts-format', '--image-opts -f raw file.filename=a.qcow2')):
    t.row(f'args/{name}', f'qemu-img check {args}', 'qcow2')
t.row('encrypted', 'qemu-img check e.qcow2', 'encrypted')
t.row('luks', 'qemu-img check l.luks', 'encrypted')

t.main()
