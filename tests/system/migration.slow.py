#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move by every transport, paused and running; migrations that fail, are cancelled, or wait
before the switch-over."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import case, main
from migrating import check_moved, source, target, wait_for


@case
def by_tcp_with_a_return_path_and_events():
    with source() as a, target('defer') as b:
        on = [{'capability': c, 'state': True} for c in ('events', 'return-path')]
        for side in a, b:
            assert side.answer('migrate-set-capabilities', capabilities=on) == {}
        assert b.answer('migrate-incoming', uri='tcp:127.0.0.1:0') == {}
        wait_for(lambda: 'socket-address' in b.answer('query-migrate'))
        port = b.answer('query-migrate')['socket-address'][0]['port']
        a.await_rounds()
        a.migrate(f'tcp:127.0.0.1:{port}')
        check_moved(a, b)
        assert 'already' not in str(b.answer('query-migrate')) and b.status() == 'completed'


@case
def through_a_file_and_a_command():
    with source() as a:
        a.await_rounds()
        a.migrate('exec:cat >saved')
        for uri in 'exec:cat saved', 'file:saved':
            with target(uri) as b:
                check_moved(a, b)
        fd = os.open('saved', os.O_RDONLY)
        with target(f'fd:{fd}', pass_fds=[fd]) as b:
            check_moved(a, b)
        os.close(fd)


@case
def a_paused_guest_stays_paused():
    with source('-smp', '2') as a:
        a.await_rounds()
        a.answer('stop')
        a.migrate('file:saved')
        with target('file:saved', '-smp', '2') as b:
            wait_for(lambda: b.state() == 'paused')
            assert not b.rounds()
            assert b.answer('cont') == {}
            check_moved(a, b)


@case
def a_migration_that_fails_leaves_the_guest_running():
    with source() as a:
        a.await_rounds()
        assert 'expects a valid' in a.answer('migrate', uri='nonsense:')['desc']
        assert 'error-desc' in a.migrate('unix:nobody.sock', 'failed')
        assert 'error-desc' in a.migrate('exec:exit 1', 'failed')
        assert a.state() == 'running'
        a.await_rounds()


@case
def a_migration_is_cancelled():
    with source() as a:
        a.await_rounds()
        assert a.answer('migrate-set-parameters', max_bandwidth=100000) == {}
        assert a.answer('migrate', uri='exec:cat >/dev/null') == {}
        wait_for(lambda: a.status() == 'active')
        assert 'in progress' in a.answer('migrate', uri='exec:cat >/dev/null')['desc']
        assert a.answer('migrate_cancel') == {}
        wait_for(lambda: a.status() == 'cancelled')
        assert a.state() == 'running'
        a.await_rounds()
        assert a.answer('migrate-set-parameters', max_bandwidth=0) == {}
        a.migrate('exec:cat >/dev/null')


@case
def before_the_switch_over_it_pauses_when_told_to():
    on = [{'capability': 'pause-before-switchover', 'state': True}]
    with source() as a, target('unix:m.sock') as b:
        assert a.answer('migrate-set-capabilities', capabilities=on) == {}
        a.await_rounds()
        assert a.answer('migrate', uri='unix:m.sock') == {}
        wait_for(lambda: a.status() == 'pre-switchover')
        assert a.state() == 'finish-migrate' and 'leave' in a.answer('cont')['desc']
        assert 'expected state' in a.answer('migrate-continue', state='active')['desc']
        assert a.answer('migrate-continue', state='pre-switchover') == {}
        check_moved(a, b)


main('migration-slow', 'system')
