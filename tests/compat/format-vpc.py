#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VHD images, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import format_rows
from compat import Table, images

t = Table('format-vpc')
images(t)
t.row('vpc-create-too-large', 'qemu-img create -f vpc x 2041G', files=False)
t.row('vpc-sizes', """for s in 0 1 17408 34816 35329 8M 8912896 525336576 527000000 528482304 1056964608 127G \
        136899993600 136899993601 500G 2040G; do for o in off on; do
        qemu-img create -f vpc -o force_size=$o x $s && qemu-img info --output=json x && rm x; done; done""",
      mask=['actual'])
t.setup('creators', """
    qemu-img create -q -f vpc a 10M
    python3 - <<'END'
import struct
image = open('a', 'rb').read()
for creator in (b'win ', b'vpc ', b'vbox', b'vs  ', b'd2v ', b'tap\\0', b'CTXS', b'wa\\0\\0', b'qem2', b'xxxx'):
    f = bytearray(image[:512])
    f[0x1c:0x20] = creator
    struct.pack_into('>Q', f, 0x30, 12 << 20)
    f[64:68] = bytes(4)
    struct.pack_into('>I', f, 64, ~sum(f) & 0xffffffff)
    open(creator.decode().strip('\\0 '), 'wb').write(bytes(f) + image[512:])
END""")
t.row('vpc-size-by-creator', """for f in win vpc vbox vs d2v tap CTXS wa qem2 xxxx; do qemu-img info --output=json $f
        for r in chs current_size; do qemu-img info --output=json --image-opts driver=vpc,force_size_calc=$r,file.filename=$f
        done; done""", 'creators', mask=['actual'])
format_rows.main(t, 'vpc', creates=('', 'subformat=fixed', 'force_size=on', 'subformat=fixed,force_size=on',
                                    'preallocation=falloc'),
                 bad_creates=('subformat=x', 'preallocation=metadata', 'force_size=maybe'),
                 sizes=('1000', '3500k', '1', '129M', '8E'), is_probed=lambda options: 'fixed' not in options)
