#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-nbd's help, manual page and bash completion know the same options."""
import pathlib
import re
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from documents import Documents, difference


def main():
    d = Documents('qemu-nbd', 8)
    if not d.is_built():
        print('qemu-nbd is not built')
        return 77
    d.check_options(at_least=50)
    d.check_formats()
    objects = set(re.findall(r'(?m)^  (\S+)$', d.run('--object', 'help')))
    d.judge('completion-objects',
            difference('object', objects, d.completion_words(
                f"{shlex.quote(str(d.tool))} --object ''"), '--object help', 'the completion'))
    d.check_page()
    return 1 if d.failed else 0


sys.exit(main())
