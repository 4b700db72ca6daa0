# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of qemu-io command lines beside the reference: what is masked, and short rows."""
import shlex

from compat import MASKS, Table
from this_run import HAS_RINGS, MAY_ABORT

MASKS.update({
    'offset': (r', "offset": \d+', ''),
    # Times and speeds.
    'speed': (r'(?m)( ops; ).*ops/sec\)$', r'\1#'),
    'figures': (r'(?m)^(\d+,\d+),\d+:\d\d:\d\d\.\d\d,[\d.]+,[\d.]+$', r'\1,#'),
    # The line "NAME ARGUMENTS -- WORDS" of help and wrong usage: the words are ours, and so is
    # which options the arguments mention.
    'synopsis': (r'(?m)^([a-z_]+)( .*)? -- .*$', r'\1 -- #'),
    'driver-list': (r'(?m)^Supported formats:.*$', 'Supported formats: #'),
})
# What -i and aio= can be in this run.
AIO_MODES = ['threads', 'native'] + ['io_uring'] * HAS_RINGS
IO_MASKS = ['speed', 'figures', 'synopsis', 'uuid', 'iters']


def may_abort(commands):
    """What stands in front of qemu-io where @commands end it by a signal."""
    if 'abort' not in commands:
        return ''
    return ' '.join(f'{name}={shlex.quote(value)}' for name, value in MAY_ABORT.items()) + ' '


class IoTable(Table):
    """A table whose rows are commands of qemu-io."""

    def __init__(self, prefix):
        super().__init__(prefix)
        self.setup('raw', 'truncate -s 1M a.img\n'
                          'qemu-io -f raw -c "write -P 0xa1 0 64k" -c "write -P 0x42 128k 100k" '
                          'a.img >/dev/null')
        self.setup('qcow2', 'qemu-img create -q -f qcow2 base.qcow2 4M\n'
                            'qemu-io -c "write -P 0x11 0 1M" base.qcow2 >/dev/null\n'
                            'qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 b.qcow2\n'
                            'qemu-io -c "write -P 0x22 512k 64k" -c "write -z 2M 64k" '
                            '-c "write -P 0x33 3M 100k" b.qcow2 >/dev/null')

    def io(self, name, *commands, opts='-f raw', image='a.img', setup='raw', **more):
        """Runs @commands by -c."""
        words = ' '.join('-c ' + shlex.quote(c) for c in commands)
        self.row(name, f'{may_abort(commands)}qemu-io {opts} {words} {image}', setup, mask=IO_MASKS,
                 **more)

    def pipe(self, name, text, opts='-f raw', image='a.img', setup='raw', **more):
        """Runs what is piped in."""
        before = may_abort(text.splitlines())
        self.row(name, f'printf %b {shlex.quote(text)} | {before}qemu-io {opts} {image}', setup,
                 mask=IO_MASKS, **more)

    def each(self, group, rows, **more):
        """A row for each of @rows, from a name to a command or a list of them."""
        for name, commands in rows.items():
            commands = [commands] if isinstance(commands, str) else commands
            self.io(f'{group}/{name}', *commands, **more)
