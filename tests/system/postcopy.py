#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that run at the target before their memory is there, both ways with the reference."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main, require
from guests import REFERENCE_EMULATOR
from migrating import check_moved, source, target, wait_for


def begin(a, b, uri, *capabilities, **parameters):
    """@a sends so slowly that it is in its first pass when its guest moves to @b."""
    for side in a, b:
        side.turn_on('postcopy-ram', 'events', *capabilities)
    a.tune(max_bandwidth=4 << 20, **parameters)
    assert a.answer('migrate', uri=b.listen(uri)) == {}
    wait_for(lambda: a.status() == 'active' and a.answer('query-migrate')['ram']['normal'] > 100)
    assert a.answer('migrate-start-postcopy') == {}


def statuses(e):
    return [event['data']['status'] for event in e.events if event['event'] == 'MIGRATION']


def await_end(a, b):
    """What the source says of it."""
    for side in a, b:
        wait_for(lambda: side.status() in ('completed', 'failed'))
    info = a.answer('query-migrate')
    assert info['status'] == b.status() == 'completed', (info, b.status())
    return info


@case
def a_guest_that_writes_loses_nothing():
    for uri in 'unix:m.sock', 'tcp:127.0.0.1:0':
        with source() as a, target('defer') as b:
            a.await_rounds(1)
            begin(a, b, uri)
            ram = await_end(a, b)['ram']
            assert ram['postcopy-requests'] > 0 and ram['postcopy-bytes'] > 4096 * ram['postcopy-requests'], ram
            check_moved(a, b)
            assert statuses(a)[-4:] == ['setup', 'active', 'postcopy-active', 'completed'], statuses(a)
            assert statuses(b)[-4:] == ['setup', 'active', 'postcopy-active', 'completed'], statuses(b)


main('postcopy', 'system')
