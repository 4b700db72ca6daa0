#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io's prompt, help, signals and other commands without an image, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import IoTable
from this_run import WATCHED

t = IoTable('io-shell')
NO_FILE = {'opts': '', 'image': ''}

# ---- commands from standard input --------------------------------------------------------------

t.pipe('input/commands', 'read 0 512\nlength\n')
t.pipe('input/failure', 'read 0 512\nfoo\nlength\nwrite -q 0 1\n')
t.pipe('input/quit', 'read 0 512\nquit\nlength')
t.pipe('input/no-newline-at-the-end', 'length')
t.pipe('input/empty-lines', '\n\n  \nlength\n')
t.pipe('input/nothing', '')
t.pipe('input/open', 'open -o driver=raw a.img\nlength\n', **NO_FILE)
t.pipe('input/nothing-open', 'length\n', **NO_FILE)
t.pipe('input/aio', 'aio_read 0 512\naio_flush\naio_write 0 512\naio_flush\n')
t.pipe('input/long-line', 'readv -q 0' + ' 1' * 480 + '\nlength\n')
t.pipe('input/many-lines', 'read -q 0 1\n' * 500)
t.row('input/file', 'printf "length\\nmap\\n" > in; qemu-io -f raw a.img < in', 'raw')
t.row('input/commands-win', 'printf "map\\n" | qemu-io -f raw -c length a.img', 'raw')
t.row('input/prompt-comes-before-waiting',
      '(sleep 0.3; echo length) | qemu-io -f raw a.img | (sleep 0.1; timeout 0.1 head -c 9; cat)',
      'raw')

# ---- finding commands --------------------------------------------------------------------------

t.each('unknown', {
    'word': 'foo',
    'with-words': 'foo bar',
    'prefix': 'rea',
    'capitals': 'READ 0 1',
    'letters': ['m', 'h', 's', 'e', 'b', 'x', 'rb', 'wb', 'wv', 'rv', 'ar', 'aw'],
})
t.each('no-image', {name: name for name in (
    'read', 'readv', 'write', 'writev', 'aio_read', 'aio_write', 'aio_flush', 'flush', 'discard',
    'truncate', 'length', 'alloc', 'map', 'info', 'close', 'reopen', 'break', 'resume', 'wait_break',
    'remove_break', 'sleep', 'sigraise')}, **NO_FILE)
t.each('count', {
    'too-few': ['alloc', 'truncate', 'sleep', 'sigraise', 'break', 'break x', 'resume', 'wait_break',
                'remove_break', 'discard 1', 'open'],
    'too-many': ['flush 1', 'map 1', 'length 1', 'info 1', 'close 1', 'aio_flush 1', 'help 1 2',
                 'alloc 1 2 3', 'truncate 1 2 3 4', 'sleep 1 2', 'sigraise 1 2', 'break 1 2 3',
                 'resume 1 2', 'wait_break 1 2', 'remove_break 1 2', 'abort 1'],
    'by-alias': ['a', 't', 'd', 'w', 'r', 'o', 'l 1', 'f 1', 'i 1', 'c 1', '? 1 2'],
    'dashes-are-words': ['sleep -- 1', 'length --', 'sigraise -- 0'],
})
t.each('help', {
    'unknown': 'help foo',
    'two-words': 'help read foo',
    'dashes': 'help --',
    'goes-on': ['help foo', 'length'],
})
t.row('help/names', "qemu-io -c help | sed -n 's/ .*--.*//p'", '')
t.row('help/by-question-mark', "qemu-io -c '?' | sed -n 's/ .*--.*//p'", '')
for name in ('read', 'readv', 'aio_read', 'write', 'writev', 'aio_write', 'aio_flush', 'flush',
             'discard', 'alloc', 'map', 'length', 'info', 'truncate', 'open', 'close', 'reopen',
             'break', 'resume', 'wait_break', 'remove_break', 'sigraise', 'sleep', 'abort', 'help',
             'quit', 'r', 'w', 'q', '?'):
    t.row(f'help/{name}', f"qemu-io -c 'help {name}' | head -1 | cut -d' ' -f1", '')
t.each('quit', {'plain': 'quit', 'alias': ['q', 'length'], 'words': ['quit 1', 'length']})

# ---- sleep, sigraise, abort --------------------------------------------------------------------

t.each('sleep', {
    'plain': ['sleep 0', 'sleep 10', 'sleep 0x1', 'sleep 010', 'sleep +5'],
    'not-a-number': ['sleep x', 'sleep 1x', 'sleep 1k', 'sleep 0x', 'sleep 1.5'],
    'negative': 'sleep -1',
})
t.each('signal', {
    'none': ['sigraise 0', 'length'],
    'term': ['length', 'sigraise 15', 'length'],
    'kill': ['sigraise 9', 'length'],
    'hex': 'sigraise 0x9',
    'child-is-ignored': ['sigraise 17', 'length'],
    'too-large': ['sigraise 100', 'sigraise 66', 'length'],
    'no-such-one': ['sigraise 65', 'length'],
    'not-a-number': ['sigraise x', 'sigraise -1', 'sigraise 9x'],
})
t.io('signal/without-image', 'sigraise 15', **NO_FILE)
t.io('abort/plain', 'abort')
if WATCHED != 'thread':     # that sanitizer flushes all streams before it lets a program abort
    t.io('abort/output-is-lost', 'length', 'abort')
t.io('abort/without-image', 'abort', **NO_FILE)
t.pipe('abort/piped', 'length\nabort\n', stderr='any')

t.main()
