#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VDI images, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
import format_rows
from compat import Table, images

t = Table('format-vdi')
images(t)
t.row('vdi-create-too-large', 'qemu-img create -f vdi x 512T', files=False)
format_rows.main(t, 'vdi', creates=('', 'static=on', 'preallocation=falloc'),
                 bad_creates=('preallocation=metadata', 'static=maybe', 'preallocation=x'),
                 sizes=('1000', '3500k', '0', '1', '129M', '8E'))
