#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-migrate's help, manual page and bash completion know the same options."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from documents import Documents


def main():
    d = Documents('qemu-migrate', 1, ('check', 'describe', 'inspect', 'diff', 'extract'))
    if not d.is_built():
        print('qemu-migrate is not built')
        return 77
    d.check_options(at_least=5)
    d.check_page()
    return 1 if d.failed else 0


sys.exit(main())
