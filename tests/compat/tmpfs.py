#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images on a file system that knows holes but can neither zero a range in place nor take hints: tmpfs."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table

SHM = pathlib.Path('/dev/shm')


def on_tmpfs():
    return any(line.split()[1:3] == [str(SHM), 'tmpfs'] for line in pathlib.Path('/proc/mounts').read_text().splitlines())


t = Table('tmpfs')
t.setup('full', 'head -c 2M /dev/zero | tr "\\0" x >full')
PLACE = f'd=$(mktemp -d {SHM}/ferry.XXXXXX) || exit; trap "rm -r $d" EXIT; cp full $d; cd $d; '
SPACE = '; stat -c "%s %b" full'
for name, command in {
        'zero': 'write -qz 64k 64k', 'zero-unmap': 'write -qzu 64k 64k', 'zero-no-fallback': 'write -qzn 64k 64k',
        'zero-no-fallback-unmap': 'write -qznu 64k 64k', 'zero-unaligned': 'write -qz 1000 100000',
        'discard': 'discard -q 64k 64k'}.items():
    t.row(name, f"{PLACE}qemu-io -f raw -c '{command}' -c 'read -q -P 0 64k 32k' full{SPACE}", 'full')
t.row('hint', f'{PLACE}qemu-img create -f qcow2 -o extent_size_hint=1M x 3M', 'full')
t.row('convert', f'{PLACE}qemu-img create -q -f raw z 2M; qemu-img convert -n -f raw -O raw z full{SPACE}', 'full')
# A device that was once told to write zeroes and keep the space offers no holes from then on.
if os.geteuid() == 0:
    t.row('device', f'{PLACE}dev=$(losetup -f --show full) || exit; qemu-img create -q -f raw z 1M; '
          f'qemu-img convert -O raw z $dev; losetup -d $dev{SPACE}', 'full')

if not on_tmpfs():
    print(f'{SHM} is no tmpfs')
    sys.exit(77)
t.main()
