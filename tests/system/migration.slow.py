#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move by every transport, paused and running; migrations that fail, are cancelled, or wait
before the switch-over."""
import os
import pathlib
import random
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lib'))
from cases import IMG, case, main, run
from emulator import wait_for
from migrating import check_moved, source, target


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


@case
def wide_vectors_go_too():
    with source('-cpu', 'max') as a, target('unix:m.sock', '-cpu', 'max') as b:
        a.await_rounds()
        assert 'all round' in a.printed.read_text()
        a.migrate('unix:m.sock')
        check_moved(a, b)


@case
def whoever_is_killed_one_side_goes_on():
    """With a return path: the source's guest goes on unless the target has confirmed that it has it."""
    on = [{'capability': 'return-path', 'state': True}]
    r = random.Random(5)
    ends = {'failed': 0, 'completed': 0}
    for _ in range(20):
        pathlib.Path('m.sock').unlink(missing_ok=True)
        with source() as a, target('unix:m.sock') as b:
            assert a.answer('migrate-set-capabilities', capabilities=on) == {}
            a.await_rounds(1)
            assert a.answer('migrate', uri='unix:m.sock') == {}
            time.sleep(r.random() * 0.6)
            b.process.kill()
            b.process.wait()
            wait_for(lambda: a.status() in ends)
            ends[a.status()] += 1
            if a.status() == 'completed' or 'may be running' in a.answer('query-migrate')['error-desc']:
                assert a.state() == 'postmigrate'
            else:
                assert a.state() == 'running'
                a.await_rounds()
    assert ends['failed'] >= 3, ends


@case
def a_target_whose_source_is_killed_ends_unless_it_has_all():
    r = random.Random(6)
    ended = 0
    for _ in range(10):
        pathlib.Path('m.sock').unlink(missing_ok=True)
        with source() as a, target('unix:m.sock') as b:
            a.await_rounds(1)
            assert a.answer('migrate', uri='unix:m.sock') == {}
            time.sleep(r.random() * 0.4)
            a.process.kill()
            a.process.wait()
            try:
                b.process.wait(2)
            except subprocess.TimeoutExpired:
                if b.status() == 'setup': # nothing had come
                    continue
                assert b.state() == 'running'
                b.await_rounds()
            else:
                ended += 1
                assert b.process.returncode == 1 and b'load of migration failed' in b.process.stderr.read()
                assert not b.rounds()
    assert ended >= 2, ended


@case
def a_guest_that_has_left_can_go_on_here_after_all():
    with source() as a:
        a.await_rounds()
        a.migrate('exec:cat >/dev/null')
        assert a.state() == 'postmigrate'
        assert 'due to previous migration' in a.answer('migrate', uri='exec:cat')['desc']
        assert a.answer('cont') == {} and a.state() == 'running'
        a.await_rounds()


@case
def a_hundred_migrations_cost_no_memory():
    def used(e):
        with open(f'/proc/{e.process.pid}/status', encoding='ascii') as f:
            return int(re.search(r'VmRSS:\s+(\d+)', f.read())[1])

    with source() as a:
        a.await_rounds()
        assert a.answer('migrate-set-parameters', max_bandwidth=0) == {}
        for uri, expect in (('exec:exit 1', 'failed'), ('exec:cat >/dev/null', 'completed'), ('unix:none', 'failed')):
            for i in range(34):
                a.migrate(uri, expect)
                if a.state() == 'postmigrate':
                    assert a.answer('cont') == {}
                if i == 3:
                    before, fds = used(a), len(os.listdir(f'/proc/{a.process.pid}/fd'))
            assert used(a) < before + 4096 and len(os.listdir(f'/proc/{a.process.pid}/fd')) == fds, uri


@case
def a_disk_goes_with_its_guest():
    """What holds of images: they are the source's, then the target's; and back if the guest comes back."""
    for name in 'one.qcow2', 'two.qcow2':
        run(IMG, 'create', '-q', '-f', 'qcow2', name, '1M')
    disk = ('-device', 'virtio-blk-device,drive=d', '-device', 'virtio-rng-device')

    def node(name):
        return '-blockdev', f'qcow2,node-name=d,file.driver=file,file.filename={name}'

    with source(*node('one.qcow2'), *disk) as a, target('unix:m.sock', *node('two.qcow2'), *disk) as b:
        a.await_rounds()
        run(IMG, 'info', 'two.qcow2')
        assert 'lock' in run(IMG, 'info', 'one.qcow2', code=1).stderr
        a.migrate('unix:m.sock')
        check_moved(a, b)
        run(IMG, 'info', 'one.qcow2')
        assert 'lock' in run(IMG, 'info', 'two.qcow2', code=1).stderr
        assert a.answer('cont') == {}
        assert 'lock' in run(IMG, 'info', 'one.qcow2', code=1).stderr


main('migration-slow', 'system')
