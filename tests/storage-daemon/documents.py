#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-storage-daemon's help, manual page and bash completion know the same options, and the page all
commands and events."""
import pathlib
import re
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from documents import Documents, difference
from qmp import Stdio


def main():
    d = Documents('qemu-storage-daemon', 1)
    if not d.is_built():
        print('qemu-storage-daemon is not built')
        return 77
    d.check_options(at_least=13)
    formats = set(re.search(r'Supported formats: (.*)', d.run('--help'))[1].split())
    line = f"{shlex.quote(str(d.tool))} --blockdev ''"
    d.judge('completion-formats', difference('format', formats, d.completion_words(line), '--help',
                                             'the completion'))
    for option in ('object', 'chardev'):
        kinds = set(re.findall(r'(?m)^  (\S+)$', d.run(f'--{option}', 'help')))
        line = f"{shlex.quote(str(d.tool))} --{option} ''"
        d.judge(f'completion-{option}', difference(option, kinds, d.completion_words(line),
                                                   f'--{option} help', 'the completion'))
        if option == 'chardev':
            told = set(re.findall(r'(?m)^\.BR? ([a-z]+)(?: ", " ([a-z]+))?$', d.page_section('CHARACTER DEVICES')))
            d.judge('page-chardevs', difference('kind', kinds, {k for pair in told for k in pair if k} & (
                kinds | {'udp', 'serial'}), f'--{option} help', 'the manual page'))
    with Stdio(d.tool) as daemon:
        schema = daemon.answer('query-qmp-schema')
    known = {e['name'] for e in schema if e['meta-type'] in ('command', 'event')}
    words = set(re.findall(r'(?<![\w-])[A-Za-z_]+(?:[-_][A-Za-z0-9]+)*(?![\w-])', d.page_section('QMP')))
    d.judge('page-commands', (f'{name} is not in the manual page' for name in sorted(known - words)))
    d.check_page()
    return 1 if d.failed else 0


sys.exit(main())
