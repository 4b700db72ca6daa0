#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io's help, manual page and bash completion know the same options and commands."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from documents import Documents, difference

D = Documents('qemu-io', 1)


def plain(text):
    """A line of the page without its fonts."""
    return re.sub(r'\\f[A-Z]|"', '', text)


def page_commands():
    """From a command to its letters."""
    found = {}
    for line in re.findall(r'(?m)^\.T[PQ]\n(\.BR? .*)$', D.page_section('COMMANDS')):
        words = plain(line).split()[1:]
        found[words[0]] = ''.join(re.findall(r'(?<![\w-])-([A-Za-z]+)', plain(line)))
    return found


def help_commands():
    """From a command to its letters, of the lists in its own help."""
    found = {}
    for name in re.findall(r'(?m)^([a-z_]+) .*-- ', D.run('-c', 'help')):
        text = D.run('-c', f'help {name}')
        found[name] = ''.join(re.findall(r'(?m)^  -([A-Za-z])    ', text))
    return found


def main():
    if not D.is_built():
        print('qemu-io is not built')
        return 77
    commands, documented = help_commands(), page_commands()
    D.check_options(at_least=30)
    D.judge('page-commands', difference('command', set(commands), set(documented), 'help',
                                        'the manual page'))
    D.judge('page-letters', (f'{c}: help has {sorted(set(commands[c]))}, the page '
                             f'{sorted(set(documented[c]))}' for c in sorted(commands)
                             if c in documented and set(commands[c]) != set(documented[c])))
    D.judge('completion-commands', difference('command', set(commands),
                                              D.completion_words("qemu-io -c ''"), 'help',
                                              'the completion'))
    D.check_formats()
    D.check_page()
    return 1 if D.failed else 0


sys.exit(main())
