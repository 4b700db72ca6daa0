#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VMDK images, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import format_rows
from compat import Table, images

t = Table('format-vmdk')
images(t)
images(t)
KINDS = ('', 'zeroed_grain=on', 'subformat=monolithicFlat', 'subformat=twoGbMaxExtentSparse',
         'subformat=twoGbMaxExtentFlat')
CREATES = ('subformat=streamOptimized', 'adapter_type=lsilogic', 'adapter_type=buslogic,hwversion=11',
           'adapter_type=legacyESX,toolsversion=7', 'compat6=on')
for options in CREATES:
    t.row(f'create-{options}', f'qemu-img create -f vmdk -o {options} x.vmdk 100M; qemu-img info x.vmdk',
          mask=format_rows.SPACE)
t.setup('stream', """
    dd if=/dev/urandom of=raw bs=64k count=9 status=none; yes | head -c 3M >> raw; truncate -s 8M raw
    qemu-img convert -O vmdk -o subformat=streamOptimized raw s.vmdk
""")
for command in ('info s.vmdk', 'info --output=json s.vmdk', 'map s.vmdk', 'map --output=json s.vmdk', 'check s.vmdk',
                'compare s.vmdk raw', 'convert -O vmdk -o subformat=streamOptimized s.vmdk t.vmdk',
                'convert -O vmdk raw t.vmdk', 'convert -c -O vmdk raw t.vmdk'):
    t.row(f'stream-{command}', f'qemu-img {command}', 'stream', mask=format_rows.SPACE, files='-O' not in command)
for write in ('8M 64k', '7M 64k', '7M 128k', '7M 4k', '0 64k', '-z 7M 64k', '-c 7M 64k'):
    t.row(f'stream-write-{write}', f"qemu-io -c 'write -P 5 {write}' s.vmdk 2>/dev/null | grep -v ops; qemu-img check s.vmdk",
          'stream')
t.setup('split', """
    qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse a.vmdk 5G
    qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentFlat b.vmdk 5G
""")
for name in 'ab':
    t.row(f'split-{name}', f"""
        qemu-io -c 'write -P 1 0 1k' -c 'write -P 2 2147483136 128k' -c 'write -P 3 4095M 2M' {name}.vmdk | grep -v ops
        qemu-io -c 'read -P 2 2147483136 128k' -c 'read -P 3 4095M 2M' -c 'read -P 0 5000M 1M' {name}.vmdk | grep -v ops
        qemu-img map --output=json {name}.vmdk; qemu-img info {name}.vmdk""", 'split', mask=format_rows.SPACE,
          files=False)
t.setup('backing', """
    qemu-img create -q -f vmdk base.vmdk 10M
    qemu-io -c 'write -P 1 0 3M' base.vmdk > /dev/null
    qemu-img create -q -f vmdk -b base.vmdk -F vmdk top.vmdk 20M
    qemu-io -c 'write -P 2 100k 1k' -c 'write -P 3 12M 1M' top.vmdk > /dev/null
    cp top.vmdk stale.vmdk; cp base.vmdk other.vmdk; sed -i s/base/othe/ stale.vmdk; mv other.vmdk othe.vmdk
    qemu-img create -q -f raw r 10M
    mkdir sub
""")
for command in ('info top.vmdk', 'info --backing-chain --output=json top.vmdk', 'map --output=json top.vmdk',
                'create -f vmdk -b base.vmdk -F vmdk new.vmdk', 'create -f vmdk -b base.vmdk -F vmdk new.vmdk 5M',
                'create -f vmdk -b ../base.vmdk -F vmdk sub/new.vmdk', 'create -f vmdk -b r -F raw new.vmdk',
                'create -f vmdk -o subformat=monolithicFlat -b base.vmdk -F vmdk new.vmdk',
                'create -f vmdk -o subformat=twoGbMaxExtentSparse -b base.vmdk -F vmdk new.vmdk',
                'convert -O raw top.vmdk out', 'convert -O vmdk -B base.vmdk -F vmdk top.vmdk new.vmdk',
                'rebase -u -b "" top.vmdk', 'commit top.vmdk', 'check top.vmdk'):
    t.row(f'backing-{command}', f'qemu-img {command}', 'backing', mask=format_rows.SPACE, files='create' not in command)
t.row('backing-written-behind-its-back', """qemu-io -c 'write -P 9 0 1k' base.vmdk | grep -v ops
    qemu-io -c 'read -P 2 100k 1k' -c 'read -P 3 12M 1M' -c 'read 1M 1k' top.vmdk 2>/dev/null | grep -v ops""", 'backing')
t.row('backing-that-is-no-vmdk', """qemu-io -r -c 'read 0 4k' 'json:{"driver":"vmdk","file.filename":"top.vmdk",
    "backing":{"driver":"raw","file.filename":"r"}}' 2>/dev/null | grep -v ops""", 'backing')
format_rows.main(t, 'vmdk', creates=KINDS, bad_creates=(
    'subformat=x', 'adapter_type=x', 'compat6=on,hwversion=3', 'zeroed_grain=on,subformat=monolithicFlat'), sizes=('1000', '3500k', '8E'))
