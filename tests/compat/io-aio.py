#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io aio_read, aio_write and aio_flush, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import AIO_MODES, IoTable

t = IoTable('io-aio')

t.each('read', {
    'plain': ['aio_read 0 512', 'aio_flush'],
    'without-flush': 'aio_read 0 512',
    'three-buffers': ['aio_read 0 1 2 3', 'aio_flush'],
    'one-after-another': ['aio_read 0 1', 'aio_flush', 'aio_read 0 2', 'aio_flush'],
    'pattern': ['aio_read -P 0xa1 0 64k', 'aio_flush'],
    'wrong-pattern-is-no-failure': ['aio_read -P 5 0 512', 'aio_flush'],
    'wrong-pattern-quiet': ['aio_read -qP 5 0 512', 'aio_flush'],
    'dump': ['aio_read -v 0 20 20', 'aio_flush'],
    'dump-and-pattern': ['aio_read -vP 3 0 4', 'aio_flush'],
    'quiet': ['aio_read -q 0 10', 'aio_flush'],
    'figures': ['aio_read -C 0 10', 'aio_flush'],
    'nothing': ['aio_read 0 0', 'aio_flush'],
    'past-the-end-is-no-failure': ['aio_read 2M 1', 'aio_flush'],
    'invalid-on-purpose': ['aio_read -i 0 1', 'aio_read -i x', 'aio_read -iZ 0 1'],
    'no-words': 'aio_read',
    'one-word': 'aio_read 0',
    'unknown-option': ['aio_read -Z 0 1', 'aio_read -z 0 1'],
    'bad-numbers': ['aio_read x 1', 'aio_read 0 x', 'aio_read 0 3G', 'aio_read 0 1G 1G'],
    'bad-pattern': 'aio_read -P 300 0 1',
})
t.each('write', {
    'plain': ['aio_write 0 512', 'aio_flush', 'read -P 0xcd 0 512'],
    'without-flush': 'aio_write -P 3 0 512',
    'three-buffers': ['aio_write -P 9 0 1 2 3', 'aio_flush', 'read -v 0 8'],
    'durable': ['aio_write -f 0 1k', 'aio_flush'],
    'quiet': ['aio_write -q 0 1k', 'aio_flush'],
    'figures': ['aio_write -C 0 1k', 'aio_flush'],
    'zero': ['aio_write -z 0 1k', 'aio_flush'],
    'zero-unmap': ['aio_write -zu 0 64k', 'aio_flush'],
    'zero-durable': ['aio_write -zf 0 1k', 'aio_flush'],
    'zero-with-pattern': ['aio_write -zP 1 0 1', 'aio_flush'],
    'zero-figures': ['aio_write -zC 0 1k', 'aio_flush'],
    'zero-quiet': ['aio_write -z -P 5 -q 0 1k', 'aio_flush'],
    'zero-nothing': ['aio_write -z 0 0', 'aio_flush'],
    'nothing': ['aio_write 0 0', 'aio_flush'],
    'past-the-end-is-no-failure': ['aio_write 2M 512', 'aio_flush', 'aio_write -z 2M 1',
                                   'aio_flush', 'aio_write -z 0 7E', 'aio_flush'],
    'invalid-on-purpose': ['aio_write -i 0 1', 'aio_write -zi 0 1', 'aio_write -ui 0 1'],
    'invalid-after-a-mistake': 'aio_write -Zi 0 1',
    'no-words': 'aio_write',
    'one-word': 'aio_write 0',
    'unmap-without-zero': ['aio_write -u 0 1', 'aio_write -uP 1 0 1'],
    'zero-of-many': ['aio_write -z 0 1 1', 'aio_write -z x 1 1'],
    'bad-numbers': ['aio_write x 1', 'aio_write 0 x', 'aio_write -z x 1', 'aio_write -z 0 x',
                    'aio_write 0 3G', 'aio_write 0 1G 1G'],
    'bad-pattern': ['aio_write -P 300 0 1', 'aio_write -zP 300 0 1'],
    'alias-is-unknown': 'aw 0 1',
    'read-your-writes': ['aio_write -P 1 0 64k', 'aio_flush', 'aio_read -P 1 0 64k', 'aio_flush'],
})
t.each('flush', {
    'with-nothing-to-wait-for': 'aio_flush',
    'takes-no-words': 'aio_flush 1',
})
t.each('closing', {
    'waits': ['aio_write -P 7 0 512', 'close'],
    'before-truncation': ['aio_write -q -P 7 0 512', 'aio_flush', 'truncate 2M', 'length'],
})
t.each('read-only', {'write': ['aio_write 0 1', 'aio_flush'], 'zero': 'aio_write -z 0 1'},
       opts='-r -f raw')
# Ends in any order; the content and the multiset of lines are what counts.
for name, commands in {
        'reads': '-c "aio_read 0 1" -c "aio_read 0 2" -c "aio_read 0 3"',
        'writes': '-c "aio_write -P 1 0 64k" -c "aio_write -P 2 64k 64k" -c "aio_write -z 128k 4k"',
        'mixed': '-c "aio_read 900k 1k" -c "aio_write 0 4k" -c "aio_read 901k 2k" -c aio_flush',
        'fifty': ' '.join(f'-c "aio_write -P {i} {i}k 1k"' for i in range(50)),
}.items():
    t.row(f'many/{name}', f'qemu-io -f raw {commands} a.img | sort', 'raw', mask=['speed'])
for mode in AIO_MODES:
    t.io(f'mode/{mode}', 'aio_write -P 4 0 4k', 'aio_flush', 'read -P 4 0 4k',
         opts=f'-n -i {mode} -f raw')
t.each('qcow2', {
    'write': ['aio_write -P 1 1M 100k', 'aio_flush', 'read -P 1 1M 100k'],
    'zero': ['aio_write -zu 512k 64k', 'aio_flush', 'read -P 0 512k 64k'],
}, opts='', image='b.qcow2', setup='qcow2')
t.row('qcow2/same-cluster', 'qemu-io -c "aio_write -P 1 1M 4k" -c "aio_write -P 2 1028k 4k" '
      '-c "aio_write -P 3 1032k 4k" -c aio_flush b.qcow2 | sort', 'qcow2', mask=['speed'])

t.main()
