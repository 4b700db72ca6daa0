#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io break, resume, wait_break and remove_break, beside the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lib'))
from compat_io import IoTable

t = IoTable('io-break')

t.each('no-blkdebug', {
    'break': ['break write_aio A', 'break a b', 'break -- x'],
    'resume': 'resume A',
    'remove': 'remove_break A',
})
t.each('raw', {
    'stops-and-goes-on': ['break write_aio A', 'aio_write 0 512', 'wait_break A', 'resume A',
                          'aio_flush'],
    'others-run-meanwhile': ['break write_aio A', 'aio_write 0 512', 'wait_break A', 'read 0 1',
                             'resume A', 'aio_flush'],
    'reads-too': ['break read_aio A', 'aio_read 0 512', 'wait_break A', 'resume A', 'aio_flush'],
    'flushes-too': ['break flush_to_disk A', 'remove_break A', 'flush'],
    'unknown-event': 'break foo A',
    'unknown-tag': ['resume A', 'remove_break A'],
    'tag-is-used-up': ['break write_aio A', 'aio_write 0 512', 'wait_break A', 'resume A',
                       'aio_flush', 'resume A', 'write 0 512'],
    'remove-before': ['break write_aio A', 'remove_break A', 'write 0 512', 'remove_break A'],
    'remove-lets-go-on': ['break write_aio A', 'aio_write 0 512', 'wait_break A', 'remove_break A',
                          'aio_flush'],
    'two': ['break write_aio A', 'break read_aio B', 'aio_write 0 512', 'wait_break A',
            'aio_read 0 512', 'wait_break B', 'resume B', 'sleep 500', 'resume A', 'aio_flush'],
}, image='blkdebug::a.img')
t.each('qcow2', {
    'cluster-alloc': ['break cluster_alloc A', 'aio_write 1M 512', 'wait_break A', 'resume A',
                      'aio_flush', 'read -P 0xcd 1M 512'],
    'l2-load': ['break l2_load A', 'aio_read 0 512', 'wait_break A', 'resume A', 'aio_flush'],
    'pwritev': ['break pwritev A', 'aio_write 512k 512', 'wait_break A', 'resume A', 'aio_flush'],
}, opts='', image='blkdebug::b.qcow2', setup='qcow2')
t.io('filter-in-between', 'break write_aio A', 'aio_write 0 512', 'wait_break A', 'resume A',
     'aio_flush', opts='--image-opts',
     image='driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.img')

t.main()
