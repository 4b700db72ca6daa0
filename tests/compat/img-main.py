#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img main, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat import Table, images

t = Table('img-main')

images(t)
for name, args in (('nothing', ''), ('unknown-command', 'frob'), ('unknown-option', '--foo'),
                   ('unknown-letter', '-z'), ('trace-value', '-T'), ('trace-long-value', '--trace'),
                   ('trace-list-file', '-T events=nope info r'), ('dashes', '-- info r')):
    t.row(name, f'qemu-img {args}', 'raw')
t.row('version-first-line', 'qemu-img --version | head -n 1 | cut -d " " -f 1-3')
t.row('version-short', 'qemu-img -V | head -n 1 | cut -d " " -f 1-3')
t.row('version-lines', 'qemu-img -V | wc -l')
t.row('help-exits-0', 'qemu-img --help >/dev/null')
t.row('help-short', 'qemu-img -h >/dev/null')
t.row('help-formats', 'qemu-img --help | grep -o "^Supported formats:"')
for command in ('amend', 'bench', 'bitmap', 'check', 'commit', 'compare', 'convert', 'create', 'dd', 'info',
                'map', 'measure', 'rebase', 'resize', 'snapshot'):
    t.row(f'usage/{command}-nothing', f'qemu-img {command}')
    if command != 'resize':  # takes it for a size there
        t.row(f'help/{command}', f'qemu-img {command} --help >/dev/null')
        t.row(f'help/{command}-short', f'qemu-img {command} -h >/dev/null')
    if command != 'measure':  # prints its help, as if all were well
        t.row(f'usage/{command}-unknown', f'qemu-img {command} --nosuchoption')

t.main()
