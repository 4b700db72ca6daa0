#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Mirrors with x-resume: they go on after a crash or a broken connection, and copy only what is left. That no
difference is missed at any moment is tested in block/mirror-resume; here processes are killed."""
import contextlib
import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'lib'))
from cases import BUILD, CASES, REFERENCE, case, img, io, main, run
from guest import Guest
from qmp import PATIENCE
from stored import await_nothing_left

spec = importlib.util.spec_from_file_location('jobs', HERE / 'jobs.py')
jobs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(jobs)
CASES.clear()    # those are run by themselves

X = ('--blockdev', 'qcow2,node-name=x,file.driver=file,file.filename=x.qcow2')
MIRROR = {'job_id': 'j', 'device': 't', 'target': 'x', 'sync': 'full', 'x_resume': 'r'}


def bitmaps(name='t.qcow2', program=BUILD):
    """Name and flags of the bitmaps that are in an image; names without what tells the target."""
    return {full.split('.')[0]: flags for full, flags in bitmaps_in_full(name, program).items()}


def bitmaps_in_full(name='t.qcow2', program=BUILD):
    info = json.loads(run(program / 'qemu-img', 'info', '-U', '--output=json', '-f', 'qcow2', name).stdout)
    return {b['name']: b['flags'] for b in info['format-specific']['data'].get('bitmaps', [])}


def remove_bitmap():
    name, = bitmaps_in_full()
    img('bitmap', '--remove', '-f', 'qcow2', 't.qcow2', name)


def images(size=jobs.SIZE):
    for name in 't.qcow2', 'x.qcow2':
        img('create', '-q', '-f', 'qcow2', name, size)


def daemon(*more):
    return jobs.Daemon('--blockdev', json.dumps(jobs.node('t')), *X, *more)


def copied(d):
    """Bytes that the job j has copied until it was ready."""
    d.wait('READY')
    return next(e for e in d.events if e['event'] == 'BLOCK_JOB_READY')['data']['offset']


def is_same():
    return img('compare', '-f', 'qcow2', '-F', 'qcow2', 't.qcow2', 'x.qcow2', code=None).returncode == 0


@case
def a_mirror_of_a_killed_daemon_goes_on_where_it_was():
    images('64M')
    io('t.qcow2', 'write -q -P 1 0 64M')
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        assert copied(d) == 64 << 20
        await_nothing_left('t.qcow2')
        d.process.kill()
    assert bitmaps() == {'r': ['auto']}, bitmaps()
    io('t.qcow2', 'write -q -P 2 5M 1M')
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        assert copied(d) == 1 << 20
        d.finish('job-complete', 'concluded')
    assert is_same() and bitmaps() == {}


@case
def the_reference_trusts_the_bitmap_and_goes_on_recording():
    images('64M')
    io('t.qcow2', 'write -q -P 1 0 64M')
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        copied(d)
        await_nothing_left('t.qcow2')
        assert bitmaps(program=REFERENCE) == {'r': ['auto']}
        d.process.kill()
    run(REFERENCE / 'qemu-io', '-f', 'qcow2', 't.qcow2', '-c', 'write -q -P 3 40M 2M')
    assert run(REFERENCE / 'qemu-img', 'check', '-q', 't.qcow2', code=None).returncode in (0, 3)
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        assert copied(d) == 2 << 20
        d.finish('job-complete', 'concluded')
    assert is_same()


@case
def a_guest_that_writes_until_it_is_killed_loses_nothing():
    resumed = 0
    for seed in range(12):
        images()
        io('t.qcow2', 'write -q -P 1 0 16M')
        chance = random.Random(seed)
        for _ in range(2):
            pathlib.Path('nbd').unlink(missing_ok=True)
            with daemon(*jobs.EXPORT) as d:
                guest = Guest('nbd', 't', seed, most=8).start()
                guest.wait_for_writes(5)
                d.do('blockdev-mirror', **MIRROR, copy_mode=chance.choice(('background', 'write-blocking')))
                time.sleep(chance.random() * .6)
                d.process.kill()
                guest.stop()
            if 'r' not in bitmaps():
                break
            if 'in-use' in bitmaps()['r']:
                remove_bitmap()
                break
            resumed += 1
        with daemon() as d:
            d.do('blockdev-mirror', **MIRROR)
            d.finish('READY', 'job-complete', 'concluded')
        assert is_same(), seed
        for name in 't.qcow2', 'x.qcow2':
            # Space that is lost with a kill is no harm.
            assert img('check', '-q', '-f', 'qcow2', name, code=None).returncode in (0, 3), (seed, name)
    assert resumed > 12, resumed


def far_server():
    """A process that serves x.qcow2 at the socket far."""
    pathlib.Path('far').unlink(missing_ok=True)
    p = subprocess.Popen([BUILD / 'qemu-nbd', '-k', pathlib.Path('far').absolute(), '-f', 'qcow2', '-t',
                          '-e', '4', '-x', 'x', 'x.qcow2'])
    while not pathlib.Path('far').exists():
        time.sleep(.01)
    return p


class Stalling:
    """A server that can be made not to answer."""

    def __init__(self, process):
        self.process = process

    def stall(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self):
        self.go_on()
        self.process.terminate()
        self.process.wait()


def far(name):
    return {'driver': 'nbd', 'node-name': name, 'export': 'x', 'server': {'type': 'unix', 'path': 'far'},
            'open-timeout': int(PATIENCE)}


@case
def a_guest_does_not_wait_for_a_target_that_does_not_answer():
    images('64M')
    io('t.qcow2', 'write -q -P 1 0 64M')
    with contextlib.closing(Stalling(far_server())) as server:
        def nodes():
            return jobs.Daemon('--blockdev', json.dumps(jobs.node('t')), '--blockdev', json.dumps(far('x')),
                               *jobs.EXPORT)
        with nodes() as d:
            d.do('blockdev-mirror', **MIRROR)
            copied(d)
            await_nothing_left('t.qcow2')
            d.process.kill()
        pathlib.Path('nbd').unlink()
        with nodes() as d:
            server.stall()
            d.do('blockdev-mirror', **MIRROR)
            guest = Guest('nbd', 't', blocks=256).start()
            guest.wait_for_writes(50)
            assert not any(e['event'] == 'BLOCK_JOB_READY' for e in d.events)
            server.go_on()
            copied(d)
            guest.stop()
            assert d.finish('job-complete', 'concluded') is None
    assert is_same()


@case
def a_broken_connection_costs_no_second_copy():
    images('64M')
    io('t.qcow2', 'write -q -P 1 0 64M')

    p = far_server()
    try:
        with jobs.Daemon('--blockdev', json.dumps(jobs.node('t')), '--blockdev', json.dumps(far('x')),
                         *jobs.EXPORT) as d:
            d.do('blockdev-mirror', **MIRROR)
            copied(d)
            await_nothing_left('t.qcow2')
            p.kill()
            p.wait()
            guest = Guest('nbd', 't', blocks=256).start()
            guest.wait_for_writes(5)
            error = d.finish('concluded')
            assert error, d.events
            guest.stop()
            p = far_server()
            d.do('blockdev-add', **far('y'))
            d.events.clear()
            d.do('blockdev-mirror', **{**MIRROR, 'target': 'y'})
            # What the guest has written, and what was stored with it.
            assert 0 < copied(d) <= 16 << 20
            assert d.finish('job-complete', 'concluded') is None
    finally:
        p.terminate()
        p.wait()
    assert is_same()


def copied_and_killed():
    """A mirror to x that has copied all, of a daemon that is killed."""
    images('64M')
    io('t.qcow2', 'write -q -P 1 0 64M')
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        copied(d)
        await_nothing_left('t.qcow2')
        d.process.kill()


@case
def a_bitmap_goes_with_its_own_target_only():
    copied_and_killed()

    def refused():
        with daemon() as d:
            said = d.try_('blockdev-mirror', **MIRROR)
            assert 'another target' in said['desc'], said
            d.do('quit')
            d.process.wait()
    pathlib.Path('x.qcow2').rename('y.qcow2')
    img('create', '-q', '-f', 'qcow2', 'x.qcow2', '64M')
    refused()
    # A copy of the target is another file, in which somebody may have written.
    shutil.copy('y.qcow2', 'x.qcow2')
    refused()
    pathlib.Path('y.qcow2').rename('x.qcow2')
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        assert copied(d) == 0
        d.finish('job-complete', 'concluded')
    assert is_same()


@case
def a_target_that_was_emptied_is_found_out():
    copied_and_killed()
    inode = pathlib.Path('x.qcow2').stat().st_ino
    img('create', '-q', '-f', 'qcow2', 'x.qcow2', '64M')
    assert pathlib.Path('x.qcow2').stat().st_ino == inode
    for _ in range(2):
        with daemon() as d:
            d.do('blockdev-mirror', **MIRROR)
            error = d.finish('concluded')
            assert 'remove the bitmap' in str(error), (error, d.events)
            d.do('quit')
            d.process.wait()
        assert bitmaps() == {'r': ['auto']}, bitmaps()
    remove_bitmap()
    with daemon() as d:
        d.do('blockdev-mirror', **MIRROR)
        assert copied(d) == 64 << 20
        d.finish('job-complete', 'concluded')
    assert is_same()


@case
def a_target_that_was_emptied_is_found_out_behind_many_zeroes():
    # One of 64 ranges, as a trimmed disk has it: pieces of zeroes, then nothing, then data.
    for name in 't.qcow2', 'x.qcow2':
        img('create', '-q', '-f', 'qcow2', name, '4G')
    io('t.qcow2', *[f'write -q -z {i * 128}k 64k' for i in range(100)], 'write -q -P 7 30M 2M')
    for emptied in False, True:
        if emptied:
            img('create', '-q', '-f', 'qcow2', 'x.qcow2', '4G')
        with daemon() as d:
            d.do('blockdev-mirror', **MIRROR)
            if emptied:
                assert 'remove the bitmap' in str(d.finish('concluded')), d.events
            else:
                assert copied(d) > 0
                await_nothing_left('t.qcow2')
            d.process.kill()


@case
def a_guest_that_writes_is_not_taken_for_a_changed_target():
    copied_and_killed()
    with daemon(*jobs.EXPORT) as d:
        guest = Guest('nbd', 't', 5, most=8).start()
        guest.wait_for_writes(5)
        d.do('blockdev-mirror', **MIRROR)
        copied(d)
        guest.stop()
        assert d.finish('job-complete', 'concluded') is None
    assert is_same()


@case
def what_cannot_be_resumed_is_refused():
    images()
    img('create', '-q', '-f', 'raw', 'raw', jobs.SIZE)
    with daemon('--blockdev', 'raw,node-name=raw,file.driver=file,file.filename=raw') as d:
        def refused(words, **more):
            said = d.try_('blockdev-mirror', **{**MIRROR, **more})
            assert words in said.get('desc', ''), said
        refused('sync=full', sync='top')
        refused('cannot', device='raw')
        d.do('block-dirty-bitmap-add', node='t', name='off', persistent=True, disabled=True)
        refused('not made by', x_resume='off')
        d.do('block-dirty-bitmap-add', node='t', name='memory')
        refused('not made by', x_resume='memory')
        refused('granularity', granularity=100)
        names = [b['name'] for n in d.do('query-named-block-nodes') if n['node-name'] == 't'
                 for b in n.get('dirty-bitmaps', [])]
        assert sorted(names) == ['memory', 'off'], names
        d.do('blockdev-mirror', **MIRROR)
        d.wait('READY')
        own, = (b['name'] for n in d.do('query-named-block-nodes') if n['node-name'] == 't'
                for b in n['dirty-bitmaps'] if b['name'].startswith('r.'))
        said = d.try_('block-dirty-bitmap-remove', node='t', name=own)
        assert 'in use' in said['desc'], said
        # Forced to end, nothing in the image is to be trusted until it is closed well.
        d.do('job-cancel', id='j')
        d.wait('null')
        assert bitmaps()['r'] == ['in-use', 'auto'], bitmaps()
        d.process.kill()
    with daemon() as d:
        said = d.try_('blockdev-mirror', **MIRROR)
        assert 'inconsistent' in said['desc'] or 'in use' in said['desc'], said


main('mirror-resume', 'storage-daemon')
